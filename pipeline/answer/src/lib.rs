//! The way from the store to what a person reads, for the command line, the bot and the site: the
//! comparison is asked of the store, always, and the page, the comment, the terminal table and the
//! JSON are made from its one view.

pub mod error;
pub mod estimate;
pub mod explain;
pub mod selfcheck;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dyno_model::catalog::policy::Policy;
use dyno_model::commit_name::CommitName;
use dyno_model::notice::Notice;
use dyno_model::text::plural;
use dyno_model::verdict::{Concluded, Failing, SeriesKey, conclude};
use dyno_query::{Filter, MeasuredBuild, PairComparison, Pipelining, Session};
use dyno_reports::view::{BuildShown, ScalingShown};
use dyno_reports::{Input, Links, View};
use dyno_store::{Signer, Store};

use crate::error::query_error;
use crate::selfcheck::selfchecks;
use dyno_base::atomic_file;
use dyno_base::error::{Result, WithContext};
use dyno_base::event::{Events, Phase};
use dyno_base::fault;

/// A comparison as the store has it now, with its conclusion.
pub struct Answer {
    pub compared: PairComparison,
    pub concluded: Concluded,
    pub view: View,
    /// Whether a commit or a case that was asked for does not work ([`Failing::is_any`]).
    pub has_failures: bool,
    /// The store as it was asked.
    pub session: Session,
}

/// Opens the store for asking under `policy`.
pub async fn open(store: &Store, policy: &Policy) -> Result<Session> {
    Session::open(store, policy.clone()).await.map_err(query_error)
}

/// Asks the store to compare two commits under `policy`.
pub async fn ask(
    store: &Store,
    policy: &Policy,
    baseline: impl Into<CommitName>,
    candidate: impl Into<CommitName>,
    filter: &Filter,
    events: &Events,
) -> Result<Answer> {
    let session = open(store, policy).await?;
    ask_session(session, (store, policy), [baseline.into(), candidate.into()], filter, events).await
}

/// Asks a session over `store`, opened under `policy`, to compare two commits.
pub async fn ask_session(
    session: Session,
    (store, policy): (&Store, &Policy),
    [baseline, candidate]: [CommitName; 2],
    filter: &Filter,
    events: &Events,
) -> Result<Answer> {
    let started = std::time::Instant::now();
    let compared = session.compare(baseline, candidate, filter).await;
    // What was set aside may be why there is no comparison.
    let compared = compared.inspect_err(|_| drop(files_set_aside(&session, events)));
    let compared = compared.map_err(query_error)?;
    let took_ms = started.elapsed().as_millis();
    events.end(Phase::Query, format!("{} series in {took_ms} ms", compared.judged.len()));
    let failing = Failing::in_comparison(&compared.runs, &compared.judged);
    let concluded = conclude(&compared.judged, &failing, policy);
    let has_failures = failing.is_any();
    let samples = compared.sample_files.iter().map(|path| store.locate(path)).collect();
    let command = command(&compared, policy, store, filter);
    let selfchecks = selfchecks(&session, &compared.runs, policy).await?;
    let sql = |series: &SeriesKey| compared.sql_for(series);
    let cases = session.scaling_cases(&compared).await.map_err(query_error)?;
    let scaling_sql: Vec<String> =
        cases.iter().map(|case| compared.sql_for_scaling(case)).collect();
    let scalings: Vec<ScalingShown<'_>> =
        cases.iter().zip(&scaling_sql).map(|(case, sql)| ScalingShown { case, sql }).collect();
    let pipelining = session.pipelining(&compared).await.map_err(query_error)?;
    // One build of each side of a case: with pipelining where there is one.
    let typical: Vec<(&Pipelining, &MeasuredBuild, String)> = pipelining
        .iter()
        .filter_map(|p| Some((p, p.on.typical.as_ref().or(p.off.typical.as_ref())?)))
        .map(|(p, build)| (p, build, format!("{};\n{}", build.sql(), p.sql())))
        .collect();
    let builds: Vec<BuildShown<'_>> = typical
        .iter()
        .filter_map(|(p, measured, sql)| {
            let gain = (p.off.builds > 0).then_some(&p.gain);
            Some(BuildShown { host: &p.host, build: measured.build.as_ref().ok()?, gain, sql })
        })
        .collect();
    let mut set_aside = files_set_aside(&session, events);
    set_aside.extend(signatures_text(&compared.signers).map(Notice::from));
    let view = View::new(Input {
        runs: &compared.runs,
        labels: &compared.labels,
        set_aside: &set_aside,
        judged: &compared.judged,
        policy,
        concluded: &concluded,
        selfchecks: &selfchecks,
        scalings: &scalings,
        builds: &builds,
        links: Links {
            samples,
            store: store.url().to_string(),
            command,
            sql: compared.sql_for_all(),
            report_url: None,
        },
        sql: &sql,
        fold_sql: &|axis, value| compared.sql_for_axis(axis, value),
    });
    Ok(Answer { compared, concluded, view, has_failures, session })
}

/// The command that makes the report again.
fn command(compared: &PairComparison, policy: &Policy, store: &Store, filter: &Filter) -> String {
    let PairComparison { baseline, candidate, suite, .. } = compared;
    let mut words = format!(
        "dyno compare {baseline} {candidate} --suite {suite} --policy {} --store {}",
        policy.name,
        store.url()
    );
    words.extend(filter.host.iter().map(|host| format!(" --host {host}")));
    words.extend(filter.job.iter().map(|job| format!(" --job {job}")));
    words
}

/// The files of the store that were set aside, which are told too. Each query may find some, so they
/// are asked for last.
fn files_set_aside(session: &Session, events: &Events) -> Vec<Notice> {
    let problems = session.problems();
    let texts = problems.iter().map(ToString::to_string);
    texts.inspect(|text| events.notice(text.clone())).map(Notice::from).collect()
}

/// Who signed the runs of a comparison, in a line; `None` where nobody signed any.
fn signatures_text(signers: &[Option<Signer>]) -> Option<String> {
    let signed: Vec<&Signer> = signers.iter().flatten().collect();
    let names = |is_known: bool| -> BTreeSet<String> {
        let named = signed.iter().filter(|s| matches!(s, Signer::Host(_)) == is_known);
        named.map(ToString::to_string).collect()
    };
    let [hosts, keys] = [true, false].map(|is_known| Vec::from_iter(names(is_known)).join(", "));
    let who = match (hosts.is_empty(), keys.is_empty()) {
        (true, true) => return None,
        (false, true) => format!("by {hosts}"),
        (true, false) => format!("with keys that hosts/ does not have: {keys}"),
        (false, false) => format!("by {hosts}; with keys that hosts/ does not have: {keys}"),
    };
    Some(format!("signed: {} of {}, {who}", signed.len(), plural(signers.len(), "run")))
}

/// Writes page, comment and JSON into `folder`; returns the page's path.
pub fn write(view: &View, folder: &Path) -> Result<PathBuf> {
    let doing = || format!("writing the report into {}", folder.display());
    std::fs::create_dir_all(folder).context(doing)?;
    let page = folder.join("report.html");
    for (path, text) in [
        (&page, dyno_reports::html(view)),
        (&folder.join("comment.md"), dyno_reports::markdown(view)),
        (&folder.join("report.json"), dyno_reports::json(view)),
    ] {
        // Whole or not at all: a reader of the folder never sees half a page.
        let write_file = || atomic_file::replace(path, text.as_bytes(), 0o644);
        fault::at("report.write", write_file).context(doing)?;
    }
    page.canonicalize().context(doing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyno_model::host_key::PublicKey;

    #[test]
    fn who_signed_is_said_in_a_line() {
        let host = |name: &str| Some(Signer::Host(name.into()));
        let unknown = || Some(Signer::Unknown(PublicKey::new([1; 32])));
        for (signers, expected) in [
            (vec![], None),
            (vec![None, None], None),
            (vec![host("b"), None, host("a"), host("b")], Some("signed: 3 of 4 runs, by a, b")),
            (
                vec![unknown()],
                Some("signed: 1 of 1 run, with keys that hosts/ does not have: ed25519:0101"),
            ),
            (
                vec![unknown(), host("a")],
                Some("signed: 2 of 2 runs, by a; with keys that hosts/ does not have: ed25519:01"),
            ),
        ] {
            let text = signatures_text(&signers);
            assert_eq!(text.is_some(), expected.is_some(), "{text:?}");
            let text = text.unwrap_or_default();
            assert!(text.starts_with(expected.unwrap_or_default()), "{text}");
        }
    }
}
