//! `dyno store`: what a store holds.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat};
use clap::Subcommand;
use dyno_answer::error::store_error;
use dyno_base::error::{Error, Result, all_or_errors};
use dyno_base::text::{columns, plain};
use dyno_model::catalog::reader::suggest_of;
use dyno_model::record::{Built, Outcome, RunRow, Trust};
use dyno_model::text::plural;
use dyno_store::Store;
use serde::Serialize;

use crate::show::print_as;

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// List what was measured: suite, commits, host, date and rounds of each run, the newest first
    List {
        /// Only this suite
        #[arg(long)]
        suite: Option<String>,
        /// Only this host
        #[arg(long)]
        host: Option<String>,
        /// Print the runs as JSON
        #[arg(long)]
        json: bool,
    },
}

/// A run as it is listed.
#[derive(Debug, Serialize)]
struct ListedRun {
    job: String,
    suite: String,
    baseline: ListedCommit,
    candidate: ListedCommit,
    host: String,
    /// When it ended, as RFC 3339.
    finished: String,
    /// The most rounds that a case got.
    rounds: u32,
    trust: Trust,
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
struct ListedCommit {
    asked: String,
    commit: String,
}

impl From<&Built> for ListedCommit {
    fn from(built: &Built) -> Self {
        Self { asked: built.asked.clone(), commit: built.commit.hex().to_string() }
    }
}

impl ListedCommit {
    /// The name that was asked for, with the first digits of the commit where that is no name.
    fn text(&self) -> String {
        let short = &self.commit[..self.commit.len().min(12)];
        match self.commit.starts_with(&self.asked) {
            true => short.to_string(),
            false => format!("{} ({short})", plain(&self.asked)),
        }
    }
}

impl From<&RunRow> for ListedRun {
    fn from(run: &RunRow) -> Self {
        let finished = DateTime::from_timestamp_micros(run.finished_us).unwrap_or_default();
        Self {
            job: run.job.hex().to_string(),
            suite: run.suite.clone(),
            baseline: ListedCommit::from(&run.baseline),
            candidate: ListedCommit::from(&run.candidate),
            host: run.host.clone(),
            finished: finished.to_rfc3339_opts(SecondsFormat::Secs, true),
            rounds: run.rounds,
            trust: run.trust,
            outcome: run.outcome,
        }
    }
}

impl ListedRun {
    fn remark(&self) -> &'static str {
        match (self.outcome, self.trust.is_trusted()) {
            (Outcome::Done, true) => "",
            (Outcome::Done, false) => "untrusted",
            (_, true) => "failures",
            (_, false) => "failures, untrusted",
        }
    }
}

impl StoreCommand {
    pub async fn run(&self, store: &Store) -> Result<u8> {
        let Self::List { suite, host, json } = self;
        let mut rows = store.run_rows().await.map_err(store_error)?;
        let known = |of: fn(&RunRow) -> &String| -> BTreeSet<String> {
            rows.iter().map(|row| of(&row.run).clone()).collect()
        };
        let asked =
            [("a suite", suite, known(|run| &run.suite)), ("a host", host, known(|run| &run.host))];
        let unknown = asked.into_iter().filter_map(|(what, name, known)| {
            let name = name.as_ref().filter(|name| !known.contains(*name))?;
            let hint = suggest_of(name, "it has", &Vec::from_iter(known));
            Some(Error::input(format!("the store has no run of {what} {name:?}")).hint(hint))
        });
        all_or_errors((), unknown.collect())?;
        let is_wanted =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        rows.retain(|row| is_wanted(suite, &row.run.suite) && is_wanted(host, &row.run.host));
        rows.sort_by_key(|row| (std::cmp::Reverse(row.run.finished_us), row.run.job.clone()));
        let runs: Vec<ListedRun> = rows.iter().map(|row| ListedRun::from(&row.run)).collect();
        print_as(*json, &runs, &text_of(&runs))?;
        Ok(0)
    }
}

fn text_of(runs: &[ListedRun]) -> String {
    let header = ["finished (UTC)", "suite", "baseline", "candidate", "host", "rounds", "job", ""];
    let mut table = vec![header.map(String::from).to_vec()];
    table.extend(runs.iter().map(|run| {
        vec![
            run.finished[..16].replace('T', " "),
            plain(&run.suite).into_owned(),
            run.baseline.text(),
            run.candidate.text(),
            plain(&run.host).into_owned(),
            run.rounds.to_string(),
            run.job[..12].to_string(),
            run.remark().to_string(),
        ]
    }));
    match runs {
        [] => "no runs yet\n".into(),
        runs => format!("{}{}\n", columns(&table, &[5]), plural(runs.len(), "run")),
    }
}
