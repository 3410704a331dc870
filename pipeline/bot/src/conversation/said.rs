//! A conversation as its comment and its check.

use dyno_model::record::Trust;
use dyno_model::text::plural;
use dyno_model::verdict::Conclusion;
use dyno_reports::escape::{bounded, code, link, prose};

use super::fit::{BODY_BYTES_MAX, fit};
use super::{Conversation, Stage};
use crate::configuration::Project;
use crate::outbox::{Check, CheckState, Say};

/// Series that became 0, of which a sentence is made each.
const ZEROS_MAX: usize = 5;

/// Logs that are shown.
const LOGS_MAX: usize = 4;

impl Conversation {
    /// The one comment; `is_silent` where one that says nothing new is not to be made.
    pub fn comment(&self, project: &Project, is_silent: bool) -> Say {
        let is_update = is_silent && !self.is_loud();
        Say::Comment { marker: self.subject.marker(), body: self.body(project), is_update }
    }

    fn body(&self, project: &Project) -> String {
        let mut blocks = vec![self.subject.marker()];
        let mut details = "";
        if self.verdict().is_none() {
            blocks.push(format!("### {}", self.headline()));
        }
        if let Some(comparison) = &self.comparison {
            let body = without_marker(&comparison.body).trim();
            let (first, rest) = body.split_once("\n\n").unwrap_or((body, ""));
            blocks.push(first.to_string());
            details = rest;
        }
        let verdict = self.verdict();
        let lines = self.parts.iter().filter(|p| verdict.is_none() || !p.state.is_measured());
        let lines: Vec<String> = lines.map(|part| part.line()).collect();
        blocks.extend((!lines.is_empty()).then(|| lines.join("\n")));
        let wording = verdict.and_then(|verdict| project.wording.of(verdict.conclusion));
        blocks.extend(wording.map(prose));
        blocks.extend(self.zeros());
        let mut last: Vec<String> =
            self.parts.iter().filter_map(|part| part.log()).take(LOGS_MAX).collect();
        last.push(self.foot());
        // What the details leave room for is small, and is not what a reader could do without.
        let used: usize = blocks.iter().chain(&last).map(|block| block.len() + 2).sum();
        let room = BODY_BYTES_MAX.saturating_sub(used);
        if !details.is_empty() {
            blocks.push(fit(details, room, &self.rest()).trim_end().to_string());
        }
        blocks.extend(last);
        fit(&format!("{}\n", blocks.join("\n\n")), BODY_BYTES_MAX, &self.rest())
    }

    /// The state in one line, where there is no verdict yet.
    fn headline(&self) -> String {
        let suite = code(&self.subject.suite);
        let (ended, all) =
            (self.parts.iter().filter(|part| part.state.is_end()).count(), self.parts.len());
        match self.stage() {
            Stage::Waiting => format!("Waiting: {suite}"),
            Stage::Queued => format!("Queued: {suite}"),
            Stage::Running => format!("Running: {suite}"),
            Stage::Silent => format!("No host answers: {suite}"),
            Stage::Partial => {
                format!("So far, {ended} of {} of hosts: {suite}", plural(all, "class"))
            }
            Stage::Cancelled => format!("Cancelled: {suite}"),
            Stage::Failed => format!("Not measured: {suite}"),
            Stage::Verdict => suite,
        }
    }

    /// A sentence for each series that became 0: there is no ratio to show.
    fn zeros(&self) -> Option<String> {
        let zeros = self.comparison.as_ref().map_or(&[][..], |comparison| &comparison.zeros);
        let sentence = |(benchmark, metric): &(String, String)| {
            format!(
                "- {} of {} became 0: it was not 0 in the baseline, and is 0 in every round of the \
                 candidate. Is it still measured?",
                code(metric),
                code(benchmark)
            )
        };
        let mut lines: Vec<String> = zeros.iter().take(ZEROS_MAX).map(sentence).collect();
        if zeros.len() > ZEROS_MAX {
            lines.push(format!("- {} became 0 as well.", plural(zeros.len() - ZEROS_MAX, "other")));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// Who asked for what, about which commits.
    fn foot(&self) -> String {
        let baseline = code(self.baseline.short());
        let what = match &self.commit {
            Some(commit) => format!("{} against {baseline}", code(commit.short())),
            None => format!("{baseline} against itself"),
        };
        let mut sentences = vec![format!(
            "{} asked: {}, for {what}.",
            code(&self.by.login),
            code(&format!("@{} {}", self.subject.bot, self.command))
        )];
        if self.trust == Trust::Untrusted {
            sentences
                .push("The commit is from a fork, and is measured as an untrusted one.".into());
        }
        if self.is_behind() {
            sentences.push(format!("The head is {} by now.", code(self.head.short())));
        }
        if !self.stage().is_end() {
            let cancel = code(&format!("@{} cancel", self.subject.bot));
            sentences.push(format!("This comment is kept up to date. {cancel} ends it."));
        }
        let url = self.report_url.as_deref().filter(|_| self.comparison.is_some());
        let url = url.and_then(web_link);
        sentences.extend(url.map(|url| format!("[Full report]({url})")));
        format!("<sub>{}</sub>", sentences.join(" "))
    }

    /// Where the rest is that a comment has no room for.
    fn rest(&self) -> String {
        match self.report_url.as_deref().and_then(web_link) {
            Some(url) => {
                format!("The rest has no room here: [the full report]({url}) has all of it.")
            }
            None => "The rest has no room here: `dyno compare` shows all of it.".to_string(),
        }
    }

    /// Whether the head is another commit than the one that is measured.
    fn is_behind(&self) -> bool {
        self.commit.as_ref().is_some_and(|commit| *commit != self.head)
    }

    /// The check on the head of the pull request.
    pub fn check(&self, project: &Project) -> Say {
        let stage = self.stage();
        let title = match self.verdict() {
            Some(comparison) => comparison.sentence.clone(),
            None => self.headline().replace('`', ""),
        };
        let mut lines: Vec<String> = self.parts.iter().map(|part| part.line()).collect();
        if self.is_behind() {
            lines.push(format!(
                "- This is about {}, which is not the head.",
                self.commit.as_ref().map_or(String::new(), |commit| code(commit.short()))
            ));
        }
        Say::Check(Check {
            name: self.subject.check_name(),
            head: self.head.clone(),
            request: self.request.clone(),
            state: self.check_state(project, stage),
            title: bounded(&dyno_reports::escape::line(&title), 200).into_owned(),
            summary: lines.join("\n"),
        })
    }

    /// Neutral, but where the repository has regressions fail: then it says yes or no, about the head
    /// alone.
    fn check_state(&self, project: &Project, stage: Stage) -> CheckState {
        let Some(comparison) = self.verdict() else {
            return match stage {
                Stage::Waiting | Stage::Queued | Stage::Silent => CheckState::Queued,
                Stage::Running | Stage::Partial => CheckState::InProgress,
                Stage::Cancelled => CheckState::Cancelled,
                Stage::Verdict | Stage::Failed => CheckState::Neutral,
            };
        };
        if !project.fail_on_regression || self.commit.is_none() || self.is_behind() {
            return CheckState::Neutral;
        }
        let is_whole = self.parts.iter().all(|part| part.state.is_measured());
        match comparison.conclusion {
            _ if comparison.gate_fails => CheckState::Failure,
            Conclusion::Improved | Conclusion::Unchanged
                if is_whole && !comparison.has_failures =>
            {
                CheckState::Success
            }
            _ => CheckState::Neutral,
        }
    }
}

/// `body` without the marker that its maker begins it with: the comment has one of its own.
fn without_marker(body: &str) -> &str {
    match body.split_once('\n') {
        Some((first, rest)) if first.starts_with("<!--") && first.ends_with("-->") => rest,
        _ => body,
    }
}

/// `url` as the target of a Markdown link, if it is one of the web.
pub(super) fn web_link(url: &str) -> Option<String> {
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:.-_~?&=%#+,;@!".contains(c);
    let url = link(url).filter(|url| is_web && url.chars().all(is_plain))?;
    Some(url.to_string())
}
