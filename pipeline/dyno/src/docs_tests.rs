//! The docs against the command line: each command that a page shows is one that dyno takes, the
//! options and exit codes that it names are there, and every option says what it is for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};

use crate::arguments::Cli;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The pages that people read, each with its name.
fn pages() -> Vec<(String, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().flatten().map(|e| e.path());
    let mut paths: Vec<PathBuf> =
        docs.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    paths.push(root().join("README.md"));
    // What was decided, and what was found out, is not kept up to date.
    paths.retain(|path| !path.ends_with("decisions.md"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

/// The words of a line as a shell takes them apart, up to a pipe, a redirection or a comment; `None`
/// of what goes on in the next line.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) =
        (Vec::new(), None, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().push(chars.next()?),
            (None, '|' | '>' | ';' | '&') => break,
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    quote.is_none().then(|| words.into_iter().chain(word).collect())
}

/// The command lines of dyno in the code blocks of a page, without `dyno` itself.
fn commands(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(|block| block.lines().skip(1));
    let calls = lines.filter_map(|line| {
        let line = line.trim_start().trim_start_matches("$ ");
        line.strip_prefix("dyno ").or_else(|| line.strip_prefix("cargo run -- "))
    });
    // What may be left out is given; `…` and what is in pointed brackets stands for something.
    calls.filter_map(|call| words(&call.replace(['[', ']'], ""))).collect()
}

/// Whether a line shows what dyno prints, or only what a command looks like.
fn is_of_another_kind(words: &[String]) -> bool {
    words.iter().any(|word| word.contains('…') || word == "--help" || word.contains('<'))
}

#[test]
fn every_command_in_the_docs_is_one() {
    let mut tried = 0;
    let mut wrong = Vec::new();
    for (name, page) in pages() {
        for words in commands(&page).into_iter().filter(|words| !is_of_another_kind(words)) {
            tried += 1;
            let numbered = words.iter().map(|word| match word.as_str() {
                "N" | "SECONDS" => "7",
                "TIER" => "primary",
                word => word,
            });
            if let Err(error) = Cli::try_parse_from(["dyno"].into_iter().chain(numbered)) {
                let first = error.to_string();
                let first = first.lines().next().unwrap_or_default();
                wrong.push(format!("{name}: dyno {}: {first}", words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(tried > 35, "{tried} commands were found");
}

/// Every command of dyno, with its name.
fn all_commands() -> Vec<(String, clap::Command)> {
    let mut pending = vec![("dyno".to_string(), Cli::command())];
    let mut found = Vec::new();
    while let Some((name, command)) = pending.pop() {
        let below = command.get_subcommands();
        pending.extend(below.map(|c| (format!("{name} {}", c.get_name()), c.clone())));
        found.push((name, command));
    }
    found
}

#[test]
fn every_option_in_the_docs_is_one() {
    let known: BTreeSet<String> = all_commands()
        .iter()
        .flat_map(|(_, command)| command.get_arguments())
        .filter_map(|argument| argument.get_long())
        .map(|long| format!("--{long}"))
        .collect();
    // Tables of options: a row that begins with the option in code.
    let mut wrong = Vec::new();
    for (name, page) in pages() {
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `--"));
        for row in rows {
            let cell = format!("--{}", row.split(" | ").next().unwrap_or_default());
            for option in cell.split(['`', ',', ' ']).filter(|word| word.starts_with("--")) {
                if !known.contains(option) {
                    wrong.push(format!("{name}: {option}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn everything_that_can_be_given_says_what_it_is_for() {
    let mut silent = Vec::new();
    for (name, command) in all_commands() {
        if command.get_about().is_none() {
            silent.push(name.clone());
        }
        for argument in command.get_arguments().filter(|argument| argument.get_help().is_none()) {
            silent.push(format!("{name} {}", argument.get_id()));
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
    Cli::command().debug_assert();
}

#[test]
fn the_exit_codes_are_those_of_the_table() {
    use dyno_base::error::Kind::{Case, Host, Infrastructure, Input, Interrupted};
    let page = std::fs::read_to_string(root().join("docs/exit-codes.md")).unwrap();
    let help = Cli::command().render_long_help().to_string();
    let help: String = help.split_whitespace().map(|word| format!("{word} ")).collect();
    let listed: BTreeSet<u8> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
        .collect();
    let kinds = [Input, Host, Infrastructure, Case, Interrupted].map(|kind| kind.exit_code());
    let codes: BTreeSet<u8> =
        kinds.into_iter().chain([0, 1, crate::arguments::BISECT_SKIP]).collect();
    assert_eq!(listed, codes);
    for code in codes {
        assert!(help.contains(&format!("{code} ")), "{code} is not in --help");
    }
}

#[test]
fn completions_and_pages_are_made() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish]
    {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "dyno", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("selfcheck") && script.contains("older-than"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    clap_mangen::generate_to(Cli::command(), folder.path()).unwrap();
    for page in ["dyno.1", "dyno-run.1", "dyno-cache-prune.1"] {
        assert!(folder.path().join(page).exists(), "{page}");
    }
}
