//! Where the numbers of a run come from: what a reader needs to repeat it.

use std::collections::BTreeMap;

use dyno_model::commit_name::Label;
use dyno_model::id::Digest;
use dyno_model::metric::MetricUnit;
use dyno_model::record::{Built, Fingerprint, Outcome, RunRow};
use serde::Serialize;

use super::View;
use super::section::{Html, Markdown, Section, no_data};
use crate::comment::{RUNS_MAX, left_out};
use crate::escape::code;
use crate::number;
use crate::words::plural;

/// The provenance of one run's numbers: what is needed to repeat it.
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
    /// The seed as text: it is more than a JSON number holds.
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
    /// How it is called today; what it was measured under may mean another commit by now.
    pub asked: String,
    pub commit: String,
    pub commit_short: String,
    pub artifact: Option<String>,
    /// Name, size as text, digest.
    pub files: Vec<(String, String, String)>,
    pub build: String,
}

/// The provenance of one run.
pub(super) fn provenance(run: &RunRow, labels: &[Label; 2]) -> Provenance {
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
        baseline: built(&run.baseline, &labels[0]),
        candidate: built(&run.candidate, &labels[1]),
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
        phases: phases(&run.phases_s),
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
        fixed_layout,
        emulator,
        core_kind,
    } = fingerprint;
    let or_unknown = |s: &String| if s.is_empty() { "unknown".to_string() } else { s.clone() };
    let mut machine = vec![
        ("architecture", or_unknown(architecture)),
        ("CPU", or_unknown(cpu)),
        ("microcode", or_unknown(microcode)),
        ("kernel", or_unknown(kernel)),
        ("frequency governor", or_unknown(governor)),
        ("cores", cores.to_string()),
        ("benchmark cores", or_unknown(benchmark_cores)),
        ("memory", number::quantity(*memory_bytes as f64, MetricUnit::Bytes, None)),
        ("virtualised", if *virtualised { "yes" } else { "no" }.to_string()),
        ("cgroup", or_unknown(cgroup)),
    ];
    if *fixed_layout {
        machine.push(("address layout", "fixed".to_string()));
    }
    machine.extend(core_kind.iter().map(|kind| ("kind of benchmark cores", kind.clone())));
    machine.extend(emulator.iter().map(|emulator| ("emulated by", emulator.clone())));
    machine
}

fn built(built: &Built, label: &Label) -> BuiltView {
    let file = |(name, (digest, size)): (&String, &(Digest, u64))| {
        let size = number::quantity(*size as f64, MetricUnit::Bytes, None);
        (name.clone(), size, digest.to_string())
    };
    BuiltView {
        asked: label.text.clone(),
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

/// Phases as they follow each other.
const PHASES: [&str; 8] =
    ["image", "source", "fetch", "build", "measure", "publish", "query", "report"];

/// Phases in the order in which they happen; unknown ones after those.
fn phases(phases_s: &BTreeMap<String, f64>) -> Vec<(String, f64, String)> {
    let place = |name: &str| PHASES.iter().position(|p| *p == name).unwrap_or(PHASES.len());
    let mut phases: Vec<_> =
        phases_s.iter().map(|(name, s)| (name.clone(), *s, number::seconds(*s))).collect();
    phases.sort_by_key(|(name, ..)| place(name));
    phases
}

/// The section of where the numbers come from; a terminal's reader finds it in the full report.
pub(super) const PROVENANCE: Section = Section {
    html: Some(Html {
        id: "provenance",
        title: "Provenance",
        template: include_str!("../../templates/provenance.html"),
        data: no_data,
    }),
    markdown: Some(Markdown {
        name: "provenance",
        write: |view| format!("{}\n", markdown_lines(view)),
    }),
    text: None,
};

/// One line a run.
fn markdown_lines(view: &View) -> String {
    let lines: Vec<String> = view.runs.iter().take(RUNS_MAX).map(markdown_line).collect();
    lines.join("\n") + &left_out(view.runs.len(), RUNS_MAX, "run")
}

fn markdown_line(run: &Provenance) -> String {
    let short =
        |text: &str| text.trim_start_matches("sha256:").get(..12).unwrap_or(text).to_string();
    let digest = |text: &str| code(&short(text));
    let side = |built: &BuiltView| match built.asked.contains(&short(&built.commit)) {
        true => code(&built.asked),
        false => format!("{} ({})", code(&built.asked), digest(&built.commit)),
    };
    format!(
        "<sub>{} {} → {} · suite {} {} · image {} {} · host {} · engine {} · {} · \
         {} · dyno {} · job {}</sub>",
        code(&run.target),
        side(&run.baseline),
        side(&run.candidate),
        code(&run.suite),
        digest(&run.suite_digest),
        code(&run.image),
        digest(&run.image_id),
        code(&run.host),
        code(&run.engine),
        plural(run.rounds as usize, "round"),
        run.finished,
        code(&run.dyno_version),
        digest(&run.job),
    )
}
