//! Measuring one job: a container for each side, one process after another on the benchmark cores,
//! baseline and candidate next to each other, each output checked.
//!
//! First every case runs once on each side without being recorded: that warms the page cache and
//! finds the cases that do not work. Then come the rounds: `model::sampling` says which is next, by
//! how precisely each case is known so far. Instructions are counted at the end (`count`).

mod count;
mod counters;
mod length;
mod pace;
mod page_in;
mod pair;
mod parity;
mod prepared_case;
mod remaining;
mod replaceable;
mod round;
mod rounds;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use dyno_model::metric::{ARTIFACT_SIZE, CACHEGRIND};
use dyno_model::plan::Job;
use dyno_model::record::{CompilationUnit, Failure, Sample, Side};
use dyno_probe::Settings;
use serde::{Deserialize, Serialize};

use crate::prepared_case::PreparedCase;
use crate::remaining::Remaining;
use crate::replaceable::{ReplaceableContainer, Verify};
use dyno_base::error::{Kind, Result};
use dyno_base::event::Events;
use dyno_base::fault;
use dyno_build::artifact::Artifact;
use dyno_build::catalog::LoadedSuite;
use dyno_engine::{Engines, Mount, Root, Spec};
use dyno_host::quiet::QuietHost;
use dyno_toolchain::prepare::PreparedToolchain;
use dyno_toolchain::sources::Sources;
use dyno_toolchain::{CRATES, PREPARED};
use pair::Pair;

/// The user that measured programs run as; the probe is another.
pub(crate) const USER: u32 = 1000;

/// Memory of a container beyond what its programs may use: the probe's own.
const PROBE_BYTES: u64 = 16 << 20;

pub use parity::Parity;
pub use remaining::CountingFactors;
pub use trial::Trial;

/// What is measured, on what.
pub struct Bench<'a> {
    /// The suite, with the answers that are expected.
    pub loaded: &'a LoadedSuite,
    /// A copy of its folder without them: what programs see.
    pub visible_folder: &'a Path,
    pub job: &'a Job,
    /// The sides that are there: both, or the one that is tried alone.
    pub subjects: BTreeMap<Side, Subject>,
    /// The crates of a suite that has some.
    pub sources: Option<&'a Sources>,
    pub inputs: Option<Artifact>,
    pub engines: Arc<Engines>,
    /// What the host allows a container, in bytes; a benchmark's limit may be lower.
    pub memory_bytes: u64,
    /// Whether processes get the same address layout each time.
    pub fixed_layout: bool,
    pub benchmark_cores: BTreeSet<u32>,
    pub all_cores: BTreeSet<u32>,
    pub events: Events,
}

/// One side: what is measured, and where.
pub struct Subject {
    pub root: Arc<dyn Root>,
    /// The artifact; it has no files for a compiler that is its image's own.
    pub artifact: Artifact,
    /// What the side's compiler prepared, for a suite of crates.
    pub toolchain: Option<PreparedToolchain>,
}

/// The rounds of a job: those that were measured before, and what is done with new ones before
/// instructions are counted.
pub struct Rounds<'a> {
    pub taken: Option<Measured>,
    pub keep: &'a dyn Fn(Measured),
    /// How long counting is expected to take.
    pub counting_factors: CountingFactors,
}

/// Results of measuring one job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    pub samples: Vec<Sample>,
    pub units: Vec<CompilationUnit>,
    pub failures: Vec<Failure>,
    /// User times of the rounds' processes, in nanoseconds, by the place of their case in the job.
    pub user_ns: BTreeMap<usize, BTreeMap<Side, Vec<i64>>>,
    pub notices: Vec<String>,
    /// The most rounds that a case got.
    pub rounds: u32,
    /// The share of the rounds' time that was spent inside measured processes.
    pub share: f64,
    pub rounds_s: f64,
    pub counting_s: f64,
    /// The compilers' own words for their versions.
    pub versions: BTreeMap<Side, String>,
    /// Sides whose compiler ignores the number of threads.
    pub ignores_threads: Vec<Side>,
}

impl Bench<'_> {
    /// Measures the whole job. What the rounds came to is kept before instructions are counted, which
    /// may take longer than they did.
    pub async fn measure(&self, quiet: &mut QuietHost, rounds: Rounds<'_>) -> Result<Measured> {
        let mut prepared = self.prepare()?;
        let Rounds { taken, keep, counting_factors } = rounds;
        let is_taken = taken.is_some();
        let mut measured = taken
            .unwrap_or_else(|| Measured { samples: self.artifact_sizes(), ..Measured::default() });
        if !is_taken {
            measured.notices.extend_from_slice(quiet.notices());
        }
        let sandbox = {
            let verify = || quiet.verify();
            let mut pair = self.start_pair(quiet.parent(), &verify).await?;
            let sandbox = pair.sandbox();
            let done = match is_taken {
                true => {
                    let known = &mut measured;
                    self.warm_up_again(&mut pair, &mut prepared, known, counting_factors).await
                }
                false => {
                    let remaining = Remaining::new(
                        self.counted_shares(sandbox.valgrind, &prepared),
                        counting_factors,
                    );
                    let rounds =
                        self.rounds(quiet, &mut pair, &mut prepared, &mut measured, remaining);
                    fault::around("measure.rounds", rounds).await
                }
            };
            measured.notices.extend(pair.remove().await);
            done?;
            sandbox
        };
        if !is_taken {
            measured.notices.extend(quiet.isolation_lost());
            measured.notices.extend(counters::counter_notices(&sandbox, &measured.samples));
        }
        // Counts do not depend on time, and want all cores.
        quiet.share_cores();
        if self.wants(CACHEGRIND) {
            if sandbox.valgrind {
                if !is_taken {
                    let mut rounds = measured.clone();
                    rounds.failures.extend(prepared.iter().filter_map(|p| p.failed.clone()));
                    keep(rounds);
                }
                let count = self.count(&mut prepared, &mut measured, counting_factors);
                match fault::around("measure.count", count).await {
                    // The rounds are worth keeping without.
                    Err(error) if error.kind != Kind::Interrupted => {
                        measured.notices.push(format!("instructions were not counted: {error}"));
                    }
                    counted => counted?,
                }
            } else {
                measured.notices.push(format!(
                    "instructions were not counted: the image {} has no Valgrind",
                    self.loaded.suite.image
                ));
            }
        }
        measured.failures.extend(prepared.into_iter().filter_map(|p| p.failed));
        Ok(measured)
    }

    /// The share of a sample's processes that is counted of each case of the job.
    fn counted_shares(&self, has_valgrind: bool, prepared: &[PreparedCase<'_>]) -> Vec<f64> {
        let mut shares = vec![0.0; self.job.cases.len()];
        if has_valgrind && self.wants(CACHEGRIND) {
            for prepared_case in prepared.iter().filter(|p| self.is_counted(p)) {
                shares[prepared_case.place] = 1.0 / f64::from(prepared_case.spawn.repeat.max(1));
            }
        }
        shares
    }

    fn wants(&self, metric: &str) -> bool {
        self.job.inputs.metrics.iter().any(|wanted| wanted == metric)
    }

    /// Starts a container for each side. One that was started goes if the other cannot be.
    async fn start_pair<'b>(
        &'b self,
        cgroup: Option<&str>,
        verify: Verify<'b>,
    ) -> Result<Pair<'b>> {
        let mut sides = BTreeMap::new();
        for side in self.subjects.keys() {
            let spec = Spec { cgroup: cgroup.map(String::from), ..self.counting_spec(*side) };
            match ReplaceableContainer::start(&self.engines, spec, verify, &self.events).await {
                Ok(started) => drop(sides.insert(*side, started)),
                Err(error) => {
                    Pair::new(sides).remove().await;
                    return Err(error);
                }
            }
        }
        Ok(Pair::new(sides))
    }

    fn spec(&self, side: Side, cpus: BTreeSet<u32>) -> Spec {
        let subject = &self.subjects[&side];
        let limits = || self.loaded.suite.benchmarks.iter().map(|b| b.limits);
        // The probe holds both streams until they are hashed.
        let stream_bytes = limits().map(|l| 2 * l.output_bytes).max().unwrap_or(0) + PROBE_BYTES;
        let memory = limits().map(|l| l.memory_bytes).max().unwrap_or(1 << 30) + stream_bytes;
        let memory = memory.min(self.memory_bytes);
        let mut mounts = vec![Mount::read_only(self.visible_folder, "/suite")];
        if !subject.artifact.files.is_empty() {
            mounts.push(Mount::read_only(subject.artifact.folder.join("files"), "/artifact"));
        }
        mounts.extend(self.sources.map(|s| Mount::read_only(&s.folder, CRATES)));
        mounts.extend(subject.toolchain.as_ref().map(|r| Mount::read_only(&r.folder, PREPARED)));
        if let Some(inputs) = &self.inputs {
            mounts.push(Mount::read_only(inputs.folder.join("files"), "/inputs"));
        }
        Spec {
            root: Arc::clone(&subject.root),
            mounts,
            network: false,
            cpus,
            memory_bytes: memory,
            // The probe itself is one.
            pids: limits().map(|l| l.pids).max().unwrap_or(64) + 1,
            tmp_bytes: memory.saturating_sub(stream_bytes).max(memory / 4) / 2,
            user: (USER, USER),
            cores_may_shrink: false,
            cgroup: None,
            probe: Settings::default(),
        }
    }

    /// Specification of a container in which the kernel counts what the job asks for.
    fn counting_spec(&self, side: Side) -> Spec {
        let counters = self.job.inputs.metrics.iter().cloned().collect();
        let probe = Settings { counters, fixed_layout: self.fixed_layout };
        Spec { probe, ..self.spec(side, self.benchmark_cores.clone()) }
    }

    /// The size of each file of each artifact: a series a file, sampled once.
    fn artifact_sizes(&self) -> Vec<Sample> {
        // Of a compiler hundreds of files are kept: each a series would drown what it compiles.
        if !self.wants(ARTIFACT_SIZE) || self.sources.is_some() {
            return Vec::new();
        }
        let size_sample = |side: Side, name: &String, size: u64| Sample {
            benchmark: format!("artifact:{name}"),
            config: String::new(),
            metric: ARTIFACT_SIZE.into(),
            round: 0,
            side,
            sequence: 0,
            value: size as i64,
            taint: String::new(),
        };
        let file_samples = |(side, subject): (&Side, &Subject)| -> Vec<Sample> {
            subject
                .artifact
                .files
                .iter()
                .map(|(name, (_, size))| size_sample(*side, name, *size))
                .collect()
        };
        self.subjects.iter().flat_map(file_samples).collect()
    }
}
