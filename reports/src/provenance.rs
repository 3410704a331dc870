//! Where the numbers of a run come from: what a reader needs to repeat it.

use dyno_model::id::Digest;
use dyno_model::metric::MetricUnit;
use dyno_model::record::{Built, Fingerprint, Outcome, RunRow};
use serde::Serialize;

use crate::{number, words};

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

pub(crate) fn provenance(run: &RunRow) -> Provenance {
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
        fixed_layout,
        emulator,
    } = fingerprint;
    let text = |s: &String| if s.is_empty() { "unknown".to_string() } else { s.clone() };
    let mut machine = vec![
        ("architecture", text(architecture)),
        ("CPU", text(cpu)),
        ("microcode", text(microcode)),
        ("kernel", text(kernel)),
        ("frequency governor", text(governor)),
        ("cores", cores.to_string()),
        ("benchmark cores", text(benchmark_cores)),
        ("memory", number::quantity(*memory_bytes as f64, MetricUnit::Bytes, None)),
        ("virtualised", if *virtualised { "yes" } else { "no" }.to_string()),
        ("cgroup", text(cgroup)),
    ];
    if *fixed_layout {
        machine.push(("address layout", "fixed".to_string()));
    }
    machine.extend(emulator.iter().map(|emulator| ("emulated by", emulator.clone())));
    machine
}

fn built(built: &Built) -> BuiltView {
    let file = |(name, (digest, size)): (&String, &(Digest, u64))| {
        let size = number::quantity(*size as f64, MetricUnit::Bytes, None);
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
