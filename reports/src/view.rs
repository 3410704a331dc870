//! Everything a report says, as data: built once by [`View::new`], laid out by the writers.
//!
//! Each number stands here twice, as text for people (with unit, and no more digits than its
//! interval supports) and raw (base units; effects as fractions, 0.05 is five per cent more).
//! Rows are sorted as they are shown. Text from outside is raw.

use std::collections::BTreeSet;

use dyno_model::catalog::policy::Policy;
use dyno_model::metric::{self, Sampling, Unit};
use dyno_model::record::{Built, Extent, Failure, Fingerprint, Outcome, Run, Side};
use dyno_model::verdict::{Concluded, Judged, Reason, SeriesKey, Verdict};
use serde::Serialize;

use crate::{number, words};

/// Version of the view's JSON: raised when a field changes its meaning or goes; a reader must
/// ignore fields it does not know.
pub const VERSION: u32 = 1;

/// Longest log tail kept of a failure, in lines and in characters a line.
const LOG_LINES_MAX: usize = 200;
const LOG_LINE_CHARS_MAX: usize = 2000;

/// What a report is made from.
pub struct Input<'a> {
    /// The jobs compared, one a host.
    pub runs: &'a [Run],
    pub judged: &'a [Judged],
    pub policy: &'a Policy,
    pub concluded: &'a Concluded,
    pub links: Links,
    /// The SQL that gives the numbers of a series.
    pub sql: &'a dyn Fn(&SeriesKey) -> String,
}

/// Where the data lies, and how to make the report again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Links {
    /// Parquet files of the samples: URLs, or paths relative to `store`.
    pub samples: Vec<String>,
    /// URL of the store.
    pub store: String,
    /// The command that made this report.
    pub command: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    pub version: u32,
    /// What is compared: `wasmi: 0.31.2 → 0.46.0`.
    pub title: String,
    pub conclusion: &'static str,
    /// The conclusion and what it rests on, in one sentence.
    pub sentence: String,
    /// Why the conclusion is what it is, a sentence each.
    pub reasons: Vec<String>,
    /// Hosts to ask again, because they contradict each other.
    pub ask_again: Vec<String>,
    /// What else a reader must know at once, a sentence each; at most seven.
    pub remarks: Vec<String>,
    pub counts: Counts,
    /// Whether series come from more than one host, so that rows must name it.
    pub many_hosts: bool,
    /// Series whose metric decides, by verdict; what changed most comes first.
    pub regressed: Vec<Row>,
    pub improved: Vec<Row>,
    pub inconclusive: Vec<Row>,
    pub unchanged: Vec<Row>,
    /// Series whose metric does not decide, whatever their verdict.
    pub not_deciding: Vec<Row>,
    pub failures: Vec<FailureView>,
    pub notices: Vec<String>,
    pub policy: PolicyView,
    pub runs: Vec<Provenance>,
    pub links: Links,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    pub series: usize,
    pub regressed: usize,
    pub improved: usize,
    pub unchanged: usize,
    pub inconclusive: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub deciding: Tally,
    pub not_deciding: Tally,
    pub failures: usize,
}

/// One side of a series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// The median, as text.
    pub text: String,
    /// Smallest to largest, as text.
    pub spread: String,
    pub median: f64,
    pub min: i64,
    pub max: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    /// `+4.2 %`
    pub text: String,
    /// `[+3.1 %, +5.3 %]`, or `exact` for a metric counted once.
    pub interval: String,
    pub fraction: f64,
    pub low: f64,
    pub high: f64,
}

/// One series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Unique in this view: `s1`, `s2`, …
    pub id: String,
    pub verdict: &'static str,
    /// `▲` for more than before, `▼` for less, `=` for unchanged, `?` for inconclusive.
    pub mark: &'static str,
    /// Benchmark and config, as people write them.
    pub case: String,
    pub benchmark: String,
    pub config: String,
    pub metric: String,
    pub unit: &'static str,
    pub host: String,
    pub decides: bool,
    pub baseline: Option<Value>,
    pub candidate: Option<Value>,
    pub effect: Option<Effect>,
    /// δ, the smallest effect of interest, as text: `±1 %`.
    pub delta: String,
    pub delta_fraction: f64,
    pub q_text: String,
    pub q: Option<f64>,
    pub p: Option<f64>,
    pub rounds: u32,
    /// Samples left out because something disturbed them.
    pub tainted: u32,
    /// Rounds in all that would settle an inconclusive series, and how many that is more.
    pub rounds_needed: Option<u32>,
    pub rounds_more: Option<u32>,
    /// Why the verdict is what it is.
    pub why: String,
    pub sql: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureView {
    /// `all cases` where no single one failed.
    pub case: String,
    pub benchmark: Option<String>,
    pub config: Option<String>,
    pub host: String,
    /// `baseline`, `candidate` or `both sides`.
    pub side: &'static str,
    pub step: String,
    pub reason: String,
    /// The last lines it printed.
    pub log: String,
    /// Lines before those, left out here.
    pub log_lines_left_out: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyView {
    pub name: String,
    pub words: Vec<String>,
    pub q: f64,
    pub confidence: f64,
}

/// Where one run's numbers come from: what is needed to repeat it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    pub job: String,
    pub target: String,
    pub suite: String,
    pub suite_digest: String,
    pub image: String,
    pub image_id: String,
    pub host: String,
    pub fingerprint: String,
    /// The fingerprint's parts: (name, value).
    pub machine: Vec<(&'static str, String)>,
    pub engine: String,
    pub baseline: BuiltView,
    pub candidate: BuiltView,
    pub metrics: Vec<String>,
    pub rounds: u32,
    /// As text: more than a JSON number holds.
    pub seed: String,
    pub dyno_version: String,
    pub outcome: &'static str,
    pub started: String,
    pub finished: String,
    pub started_us: i64,
    pub finished_us: i64,
    pub took: String,
    /// Phase, seconds, seconds as text.
    pub phases: Vec<(String, f64, String)>,
    /// Share of the measuring phase spent inside measured processes.
    pub measured_share: f64,
    pub measured_share_text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BuiltView {
    pub asked: String,
    pub commit: String,
    pub commit_short: String,
    pub artifact: Option<String>,
    /// Name, size as text, digest.
    pub files: Vec<(String, String, String)>,
    pub build: String,
}

impl View {
    /// Says everything there is to say about `input`.
    pub fn new(input: Input<'_>) -> Self {
        let hosts: BTreeSet<&str> = input
            .runs
            .iter()
            .map(|run| run.host.as_str())
            .chain(input.judged.iter().map(|j| j.comparison.key.host.as_str()))
            .collect();
        let mut judged: Vec<&Judged> = input.judged.iter().collect();
        judged.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| size(b).total_cmp(&size(a))));
        let rows: Vec<(&Judged, Row)> = judged
            .iter()
            .enumerate()
            .map(|(index, j)| (*j, row(index, j, input.policy, input.sql)))
            .collect();
        let deciding = |name: &str| -> Vec<Row> {
            let wanted =
                |(j, _): &&(&Judged, Row)| j.comparison.decides && j.verdict.name() == name;
            rows.iter().filter(wanted).map(|(_, row)| row.clone()).collect()
        };
        let failures: Vec<FailureView> = input
            .runs
            .iter()
            .flat_map(|run| run.failures.iter().map(|f| failure(f, &run.host)))
            .collect();
        let counts = Counts {
            deciding: tally(&judged, true),
            not_deciding: tally(&judged, false),
            failures: failures.len(),
        };
        let mut view = Self {
            version: VERSION,
            title: words::title(input.runs),
            conclusion: input.concluded.conclusion.name(),
            sentence: words::sentence(&input, &counts.deciding),
            reasons: input.concluded.reasons.iter().map(ToString::to_string).collect(),
            ask_again: input.concluded.ask_again.iter().cloned().collect(),
            remarks: Vec::new(),
            counts,
            many_hosts: hosts.len() > 1,
            regressed: deciding("Regressed"),
            improved: deciding("Improved"),
            inconclusive: deciding("Inconclusive"),
            unchanged: deciding("Unchanged"),
            not_deciding: rows
                .iter()
                .filter(|(j, _)| !j.comparison.decides)
                .map(|(_, r)| r.clone())
                .collect(),
            failures,
            notices: notices(input.runs),
            policy: PolicyView {
                name: input.policy.name.clone(),
                words: words::policy(input.policy, input.judged),
                q: input.policy.q,
                confidence: input.policy.confidence,
            },
            runs: input.runs.iter().map(provenance).collect(),
            links: input.links,
        };
        view.remarks = words::remarks(&view);
        view
    }

    /// Every row, in the order shown.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        [&self.regressed, &self.improved, &self.inconclusive, &self.unchanged, &self.not_deciding]
            .into_iter()
            .flatten()
    }
}

/// Deciding first, then by verdict as shown; ties are broken by size, which puts the largest
/// effect first, except where size means nothing.
fn order(judged: &Judged) -> (bool, u8) {
    let verdict = match judged.verdict {
        Verdict::Regressed => 0,
        Verdict::Improved => 1,
        Verdict::Inconclusive(_) => 2,
        Verdict::Unchanged => 3,
    };
    (!judged.comparison.decides, verdict)
}

fn size(judged: &Judged) -> f64 {
    match (&judged.verdict, judged.comparison.estimate) {
        (Verdict::Regressed | Verdict::Improved, Some(estimate)) => estimate.mean.abs(),
        _ => 0.0,
    }
}

fn tally(judged: &[&Judged], decides: bool) -> Tally {
    let mut tally = Tally::default();
    for j in judged.iter().filter(|j| j.comparison.decides == decides) {
        tally.series += 1;
        *match j.verdict {
            Verdict::Regressed => &mut tally.regressed,
            Verdict::Improved => &mut tally.improved,
            Verdict::Unchanged => &mut tally.unchanged,
            Verdict::Inconclusive(_) => &mut tally.inconclusive,
        } += 1;
    }
    tally
}

fn row(index: usize, judged: &Judged, policy: &Policy, sql: &dyn Fn(&SeriesKey) -> String) -> Row {
    let comparison = &judged.comparison;
    let key = &comparison.key;
    let unit = metric::find(&key.metric).map_or(Unit::Count, |m| m.unit);
    let effect = comparison.effect().zip(comparison.interval()).map(|(fraction, (low, high))| {
        let (text, interval) = number::effect(fraction, low, high);
        Effect { text, interval, fraction, low, high }
    });
    let half_width = effect.as_ref().map(|e| (e.high - e.low) / 2.0).filter(|h| *h > 0.0);
    let value = |extent: Option<Extent>| {
        extent.map(|Extent { median, min, max }| Value {
            text: number::quantity(median, unit, half_width),
            spread: spread(min, max, unit),
            median,
            min,
            max,
        })
    };
    let needed = match judged.verdict {
        Verdict::Inconclusive(Reason::TooWide { rounds }) if rounds < words::ROUNDS_CAP => {
            Some(rounds)
        }
        Verdict::Inconclusive(Reason::TooFewRounds { .. }) => Some(2),
        _ => None,
    };
    let delta_fraction = comparison.delta.exp_m1();
    let delta = format!("±{}", number::percent(delta_fraction));
    Row {
        id: format!("s{}", index + 1),
        verdict: judged.verdict.name(),
        mark: match &judged.verdict {
            Verdict::Unchanged => "=",
            Verdict::Inconclusive(_) => "?",
            _ if effect.as_ref().is_some_and(|e| e.fraction < 0.0) => "▼",
            _ => "▲",
        },
        case: words::case(&key.benchmark, &key.config),
        benchmark: key.benchmark.clone(),
        config: key.config.clone(),
        metric: key.metric.clone(),
        unit: unit.name(),
        host: key.host.clone(),
        decides: judged.comparison.decides,
        baseline: value(comparison.baseline),
        candidate: value(comparison.candidate),
        why: words::why(judged, effect.as_ref(), &delta, policy),
        effect,
        delta,
        delta_fraction,
        // A counted value was not drawn from anything: its q is 0 or 1 by definition.
        q_text: match comparison.q {
            Some(_) if is_counted(&key.metric) => "–".to_string(),
            Some(q) => number::probability(q),
            None => "–".to_string(),
        },
        q: comparison.q,
        p: comparison.estimate.map(|e| e.p),
        rounds: comparison.rounds,
        tainted: comparison.tainted,
        rounds_needed: needed,
        rounds_more: needed.map(|n| n.saturating_sub(comparison.rounds)),
        sql: sql(key),
    }
}

/// Whether a metric is sampled once per case, so that it has no variance.
pub(crate) fn is_counted(name: &str) -> bool {
    metric::find(name).is_some_and(|m| m.sampling == Sampling::Once)
}

fn spread(min: i64, max: i64, unit: Unit) -> String {
    let [low, high] = [min, max].map(|v| number::quantity(v as f64, unit, None));
    if low == high { low } else { format!("{low} to {high}") }
}

fn failure(failure: &Failure, host: &str) -> FailureView {
    let all: Vec<&str> = failure.log_tail.lines().collect();
    let left_out = all.len().saturating_sub(LOG_LINES_MAX);
    let kept: Vec<_> =
        all[left_out..].iter().map(|l| crate::escape::bounded(l, LOG_LINE_CHARS_MAX)).collect();
    FailureView {
        case: match (&failure.benchmark, &failure.config) {
            (Some(benchmark), config) => words::case(benchmark, config.as_deref().unwrap_or("")),
            (None, _) => "all cases".to_string(),
        },
        benchmark: failure.benchmark.clone(),
        config: failure.config.clone(),
        host: host.to_string(),
        side: failure.side.map_or("both sides", Side::name),
        step: failure.step.clone(),
        reason: failure.reason.clone(),
        log: kept.join("\n"),
        log_lines_left_out: left_out,
    }
}

/// The runs' own notices, and what differs between runs that are shown together.
fn notices(runs: &[Run]) -> Vec<String> {
    let mut notices: Vec<String> = Vec::new();
    let several = runs.iter().map(|r| &r.host).collect::<BTreeSet<_>>().len() > 1;
    for run in runs {
        for notice in &run.notices {
            let notice = if several { format!("{}: {notice}", run.host) } else { notice.clone() };
            if !notices.contains(&notice) {
                notices.push(notice);
            }
        }
    }
    type Part = fn(&Run) -> String;
    let parts: [(&str, Part); 5] = [
        ("commits", |r| format!("{} {}", r.baseline.commit, r.candidate.commit)),
        ("suite digest", |r| r.suite_digest.to_string()),
        ("image", |r| r.image_id.to_string()),
        ("engine", |r| r.fingerprint.engine.clone()),
        ("dyno version", |r| r.dyno_version.clone()),
    ];
    for (name, part) in parts {
        if runs.iter().map(part).collect::<BTreeSet<_>>().len() > 1 {
            notices.push(format!("the runs shown here differ in their {name}; see Provenance"));
        }
    }
    notices
}

fn provenance(run: &Run) -> Provenance {
    Provenance {
        job: run.job.to_string(),
        target: run.target.clone(),
        suite: run.suite.clone(),
        suite_digest: run.suite_digest.to_string(),
        image: run.image.clone(),
        image_id: run.image_id.to_string(),
        host: run.host.clone(),
        fingerprint: run.fingerprint.digest().to_string(),
        machine: machine(&run.fingerprint),
        engine: run.fingerprint.engine.clone(),
        baseline: built(&run.baseline),
        candidate: built(&run.candidate),
        metrics: run.metrics.clone(),
        rounds: run.rounds,
        seed: run.seed.to_string(),
        dyno_version: run.dyno_version.clone(),
        outcome: match run.outcome {
            Outcome::Done => "done",
            Outcome::FailedCase => "failed (case)",
        },
        started: number::utc(run.started_us),
        finished: number::utc(run.finished_us),
        started_us: run.started_us,
        finished_us: run.finished_us,
        took: number::seconds(run.finished_us.saturating_sub(run.started_us) as f64 / 1e6),
        phases: words::phases(&run.phases_s),
        measured_share: run.measured_share,
        measured_share_text: format!("{:.1} %", run.measured_share * 100.0),
    }
}

fn machine(fingerprint: &Fingerprint) -> Vec<(&'static str, String)> {
    let Fingerprint {
        architecture,
        cpu,
        microcode,
        kernel,
        governor,
        cores,
        memory_bytes,
        virtualised,
        cgroup,
        engine: _,
        benchmark_cores,
    } = fingerprint;
    let text = |s: &String| if s.is_empty() { "unknown".to_string() } else { s.clone() };
    vec![
        ("architecture", text(architecture)),
        ("CPU", text(cpu)),
        ("microcode", text(microcode)),
        ("kernel", text(kernel)),
        ("frequency governor", text(governor)),
        ("cores", cores.to_string()),
        ("benchmark cores", text(benchmark_cores)),
        ("memory", number::quantity(*memory_bytes as f64, Unit::Bytes, None)),
        ("virtualised", if *virtualised { "yes" } else { "no" }.to_string()),
        ("cgroup", text(cgroup)),
    ]
}

fn built(built: &Built) -> BuiltView {
    let file = |(name, (digest, size)): (&String, &(dyno_model::id::Digest, u64))| {
        let size = number::quantity(*size as f64, Unit::Bytes, None);
        (name.clone(), size, digest.to_string())
    };
    BuiltView {
        asked: built.asked.clone(),
        commit: built.commit.to_string(),
        commit_short: built.commit.short().to_string(),
        artifact: built.artifact.as_ref().map(ToString::to_string),
        files: built.files.iter().map(file).collect(),
        build: match (&built.artifact, built.build_s) {
            (None, _) => "failed".to_string(),
            (Some(_), Some(seconds)) => format!("built in {}", number::seconds(seconds)),
            (Some(_), None) => "from the cache".to_string(),
        },
    }
}
