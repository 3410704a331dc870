//! What the bot says to a command that measures nothing: one comment a pull request, which has the
//! last such answer.

use dyno_model::mistake::Mistakes;
use dyno_model::text::plural;
use dyno_reports::escape::{bounded, code, prose};

use super::Conversation;
use super::fit::{BODY_BYTES_MAX, fit};
use crate::command::{Command, Misread};
use crate::configuration::Repository;
use crate::outbox::Say;
use crate::permission::Refusal;

/// Mistakes of a file that are listed.
const MISTAKES_MAX: usize = 20;

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The comment was no command.
    Misread(&'a Misread),
    /// Something is missing.
    Refused {
        missing: &'a [Refusal],
        rules: &'a Repository,
    },
    /// What was wanted cannot be asked, and why.
    Unplanned(&'a str),
    /// The command is one that this bot does not carry out yet.
    Missing(&'a Command),
    Help,
    /// Where things are; none where nothing was asked.
    Status(&'a [Conversation]),
    /// How many requests were ended.
    Cancelled(usize),
    /// The members that got a request each; none where the merge is of one pull request.
    Unrolled(&'a [u64]),
    /// The pull request changes only what starts nothing.
    Ignored,
    /// The repository's own file has mistakes.
    Configuration(&'a Mistakes),
}

/// The comment of the bot called `bot` that answers the comment `to` of the account `login`.
pub fn answer(bot: &str, login: &str, to: u64, answer: &Answer<'_>) -> Say {
    let marker = format!("<!-- {}: answer -->", bot.replace('-', "~"));
    let mut blocks = vec![marker.clone()];
    blocks.extend(lines(bot, answer));
    // The place of the comment in the page: no reference, since nobody is to be told of it.
    blocks.push(format!("<sub>To [a comment](#issuecomment-{to}) of {}.</sub>", code(login)));
    let body = format!("{}\n", blocks.join("\n\n"));
    let body = fit(&body, BODY_BYTES_MAX, "The rest has no room here.");
    Say::Comment { marker, body, is_update: false }
}

fn lines(bot: &str, answer: &Answer<'_>) -> Vec<String> {
    match answer {
        Answer::Misread(misread) => misread_blocks(bot, misread),
        Answer::Refused { missing, rules } => {
            let line = |refusal: &Refusal| {
                format!("- {} {}", prose(&refusal.sentence()), prose(&refusal.remedy(rules)))
            };
            let lines: Vec<String> = missing.iter().map(line).collect();
            vec!["### Not started".into(), lines.join("\n")]
        }
        Answer::Unplanned(why) => {
            vec!["### Not started".into(), prose(&bounded(why, 1000))]
        }
        Answer::Missing(command) => {
            let name = code(command.name());
            vec![format!("{name} is not there yet, so nothing was done.")]
        }
        Answer::Help => vec!["### Commands".into(), forms(bot)],
        Answer::Status([]) => vec!["Nothing was asked in this pull request.".into()],
        Answer::Status(conversations) => {
            let mut blocks = vec!["### Where things are".to_string()];
            for conversation in *conversations {
                let lines: Vec<String> =
                    conversation.parts.iter().map(|part| part.line()).collect();
                let name = code(&conversation.subject.check_name());
                blocks.push(format!("{name}\n\n{}", lines.join("\n")));
            }
            blocks
        }
        Answer::Cancelled(0) => vec!["Nothing was open, so nothing was cancelled.".into()],
        Answer::Cancelled(number) => vec![format!("{} cancelled.", plural(*number, "request"))],
        Answer::Unrolled([]) => {
            vec!["This is no merge of several pull requests: there is nothing to split.".into()]
        }
        Answer::Unrolled(members) => {
            let members: Vec<String> =
                members.iter().map(|number| code(&format!("#{number}"))).collect();
            vec![format!("One request each for {}: the answers come here.", members.join(", "))]
        }
        Answer::Ignored => vec![
            "This pull request changes only paths that start nothing (`ignore` in \
             `.github/dyno.toml`), so nothing was started."
                .into(),
        ],
        Answer::Configuration(mistakes) => {
            let mut blocks = vec![format!("### Mistakes in {}", code(&mistakes.file))];
            blocks.push(mistake_lines(mistakes, true));
            blocks
        }
    }
}

fn misread_blocks(bot: &str, misread: &Misread) -> Vec<String> {
    let mut blocks = vec!["### Not understood, so nothing was started".to_string()];
    blocks.push(mistake_lines(&misread.mistakes, false));
    blocks.push(match &misread.nearest {
        Some(nearest) => format!("Did you mean {}?", code(&format!("@{bot} {nearest}"))),
        None => forms(bot),
    });
    blocks
}

/// A line a mistake: what, what was expected, and a hint; with its place where that is in a file.
fn mistake_lines(mistakes: &Mistakes, has_place: bool) -> String {
    let mut lines: Vec<String> = Vec::new();
    for mistake in mistakes.list.iter().take(MISTAKES_MAX) {
        let (line, column) = mistakes.position(mistake);
        let place =
            if has_place { format!("line {line}, column {column}: ") } else { String::new() };
        let hint = mistake.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
        let text = format!("{place}{}; expected: {}{hint}", mistake.message, mistake.expected);
        lines.push(format!("- {}", prose(&bounded(&text, 500))));
    }
    if mistakes.list.len() > MISTAKES_MAX {
        lines.push(format!("- and {}", plural(mistakes.list.len() - MISTAKES_MAX, "more mistake")));
    }
    lines.join("\n")
}

/// The form of each command.
fn forms(bot: &str) -> String {
    let line =
        |(form, what): &(&str, &str)| format!("- {}: {what}", code(&format!("@{bot} {form}")));
    let lines: Vec<String> = Command::FORMS.iter().map(line).collect();
    format!("{}\n\nOne command a comment, at the beginning of a line.", lines.join("\n"))
}
