//! The tables `builds`, `utilisation` and `pipelining`: what the model says of measured builds.
//!
//! Nothing of it is stored, so that a better analysis is one of old runs too. A scan reads the
//! units of the runs, and of these the rows, that its filters leave, and has the model analyse each
//! build; builds are simulated only where a query asks for what comes of it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::datasource::{MemTable, TableType};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use dyno_model::build_graph::{Analysis, Build, CriticalPath, analyse, simulate};
use dyno_model::record::{RunRow, Side};

use crate::builds::{self, MeasuredBuild, Mode, Pipelining};
use crate::columns::Columns;
use crate::error::Result;
use crate::judged::Judge;
use crate::path;
use crate::snapshot::StoredRun;
use crate::table::{rows_kept, strip_qualifiers};

/// Columns that are the same for every row of a run, here and in `runs`.
const OF_RUN: [&str; 12] = [
    "job",
    "suite",
    "host",
    "baseline_commit",
    "candidate_commit",
    "baseline_asked",
    "candidate_asked",
    "finished",
    "arch",
    "month",
    "emulated",
    "trust",
];

/// The settings that every build is simulated with: jobs, pipelining.
const SETTINGS: [(&str, u32, bool); 4] = [
    ("predicted_1_on_ns", 1, true),
    ("predicted_1_off_ns", 1, false),
    ("predicted_2_on_ns", 2, true),
    ("predicted_2_off_ns", 2, false),
];

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Builds,
    Utilisation,
    Pipelining,
}

impl Which {
    pub(crate) const ALL: [Self; 3] = [Self::Builds, Self::Utilisation, Self::Pipelining];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Builds => "builds",
            Self::Utilisation => "utilisation",
            Self::Pipelining => "pipelining",
        }
    }

    /// Columns that may choose among the rows of `units` and `samples`, where they mean the same.
    /// All builds of a case have a part in its gain.
    const fn of_process(self) -> &'static [&'static str] {
        match self {
            Self::Builds | Self::Utilisation => {
                &["benchmark", "config", "side", "round", "sequence"]
            }
            Self::Pipelining => &["benchmark", "side"],
        }
    }
}

#[derive(Debug)]
pub(crate) struct BuildTable {
    judge: Arc<Judge>,
    which: Which,
    schema: SchemaRef,
}

impl BuildTable {
    pub(crate) fn new(judge: Arc<Judge>, which: Which) -> Self {
        let schema = rows(which, Vec::new(), &judge, false).schema();
        Self { judge, which, schema }
    }

    /// Whether a column of [`SETTINGS`] or `predicted_ns` is asked for.
    fn wants_simulation(&self, projection: Option<&Vec<usize>>) -> bool {
        let is_predicted = |at: &usize| self.schema.field(*at).name().starts_with("predicted");
        self.which == Which::Builds
            && projection.is_none_or(|columns| columns.iter().any(is_predicted))
    }
}

#[async_trait]
impl TableProvider for BuildTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let snapshot = &self.judge.snapshot;
        let kept = rows_kept(state, &snapshot.rows, filters, |name| OF_RUN.contains(&name))?;
        let of_process = |filter: &&Expr| {
            let columns = filter.column_refs();
            let shared = self.which.of_process();
            !filter.is_volatile()
                && !columns.is_empty()
                && columns.iter().all(|column| shared.contains(&column.name()))
        };
        let filter = conjunction(filters.iter().filter(of_process).cloned());
        let filter = filter.map(strip_qualifiers).transpose()?;
        let runs: Vec<&StoredRun> = snapshot
            .runs
            .iter()
            .zip(kept)
            .filter_map(|(run, kept)| kept.then_some(run.as_ref()))
            .collect();
        let measured = measured(&self.judge, &runs, filter).await?;
        let rows = rows(self.which, measured, &self.judge, self.wants_simulation(projection));
        let table = MemTable::try_new(self.schema(), vec![vec![rows]])?;
        table.scan(state, projection, &[], limit).await
    }
}

/// A build and the run it is of.
struct Measured<'a> {
    stored: &'a StoredRun,
    build: MeasuredBuild,
}

async fn measured<'a>(
    judge: &Judge,
    stored: &[&'a StoredRun],
    filter: Option<Expr>,
) -> Result<Vec<Measured<'a>>> {
    let runs: Vec<&RunRow> = stored.iter().map(|stored| &stored.run).collect();
    let measured = |build: MeasuredBuild| {
        // Runs are ordered by job.
        let at = stored.binary_search_by(|stored| stored.run.job.cmp(&build.job)).ok()?;
        Some(Measured { stored: stored[at], build })
    };
    Ok(builds::read(judge, &runs, filter).await?.into_iter().filter_map(measured).collect())
}

fn rows(which: Which, all: Vec<Measured<'_>>, judge: &Judge, simulated: bool) -> RecordBatch {
    match which {
        Which::Builds => build_rows(all, simulated),
        Which::Utilisation => utilisation_rows(&all),
        Which::Pipelining => pipelining_rows(all, judge.policy.confidence),
    }
}

/// The columns that say which run and side it is.
fn head<'a, R>(
    rows: &mut Columns<'a, R>,
    stored: impl Fn(&'a R) -> &'a StoredRun,
    side: impl Fn(&'a R) -> Side,
) {
    let run = |row| &stored(row).run;
    rows.text("job", |row| Some(run(row).job.hex()));
    rows.text("suite", |row| Some(&run(row).suite));
    rows.text("host", |row| Some(&run(row).host));
    rows.text("side", |row| Some(side(row).name()));
    rows.text("commit", |row| {
        Some(match side(row) {
            Side::Baseline => run(row).baseline.commit.to_string(),
            Side::Candidate => run(row).candidate.commit.to_string(),
        })
    });
    rows.text("baseline_commit", |row| Some(run(row).baseline.commit.to_string()));
    rows.text("candidate_commit", |row| Some(run(row).candidate.commit.to_string()));
    rows.text("baseline_asked", |row| Some(&run(row).baseline.asked));
    rows.text("candidate_asked", |row| Some(&run(row).candidate.asked));
    rows.text("arch", |row| Some(&stored(row).shard.arch));
    rows.text("month", |row| Some(&stored(row).shard.month));
    rows.text("trust", |row| Some(run(row).trust.name()));
    rows.flag("emulated", |row| Some(run(row).fingerprint.emulator.is_some()));
    rows.time("finished", |row| run(row).finished_us);
}

/// A row of `builds`.
struct BuildRow<'a> {
    of: Measured<'a>,
    analysis: Option<Analysis>,
    /// With its own settings, then with [`SETTINGS`].
    predicted: Option<[i64; 1 + SETTINGS.len()]>,
}

impl<'a> BuildRow<'a> {
    fn of(of: Measured<'a>, simulated: bool) -> Self {
        let build = of.build.build.as_ref().ok();
        let analysis = build.map(analyse);
        let predicted = build.filter(|_| simulated).map(predicted);
        Self { of, analysis, predicted }
    }
}

fn path<'a>(row: &'a BuildRow<'_>) -> Option<&'a CriticalPath> {
    row.analysis.as_ref().map(|analysis| &analysis.critical_path)
}

fn predicted(build: &Build) -> [i64; 1 + SETTINGS.len()] {
    let own = simulate(build, build.jobs(), build.pipelining()).wall_ns();
    let mut all = [own; 1 + SETTINGS.len()];
    for (predicted, (_, jobs, pipelining)) in all[1..].iter_mut().zip(SETTINGS) {
        *predicted = simulate(build, jobs, pipelining).wall_ns();
    }
    all
}

/// The share of a path that `ns` of it is; `None` for a path of no length.
fn share(path: &CriticalPath, ns: i64) -> Option<f64> {
    let length = path.length_ns();
    (length > 0).then(|| ns as f64 / length as f64)
}

fn build_rows(all: Vec<Measured<'_>>, simulated: bool) -> RecordBatch {
    let all: Vec<BuildRow<'_>> = all.into_iter().map(|of| BuildRow::of(of, simulated)).collect();
    let mut rows = Columns::of(&all);
    head(&mut rows, |row| row.of.stored, |row| row.of.build.side);
    rows.text("benchmark", |row| Some(&row.of.build.benchmark));
    rows.text("config", |row| Some(&row.of.build.config));
    rows.small("round", |row| Some(row.of.build.round));
    rows.small("sequence", |row| Some(row.of.build.sequence));
    rows.text("taint", |row| Some(&row.of.build.taint));
    rows.small("jobs", |row| row.of.build.jobs);
    rows.flag("pipelining", |row| row.of.build.pipelining);
    rows.small("cores", |row| Some(row.of.build.cores));
    rows.small("units", |row| Some(row.of.build.units));
    rows.integer("wall_ns", |row| row.of.build.wall_ns);
    rows.integer("critical_path_ns", |row| Some(path(row)?.length_ns()));
    rows.text("critical_path", |row| {
        Some(path::text(row.of.build.build.as_ref().ok()?, path(row)?))
    });
    rows.integer("path_front_ns", |row| Some(path(row)?.parts.front_ns));
    rows.integer("path_codegen_ns", |row| Some(path(row)?.parts.codegen_ns));
    rows.integer("path_link_ns", |row| Some(path(row)?.parts.link_ns));
    rows.integer("path_other_ns", |row| Some(path(row)?.parts.other_ns));
    rows.integer("path_waited_ns", |row| Some(path(row)?.waited_ns));
    rows.float("utilisation", |row| Some(row.analysis.as_ref()?.utilisation.mean));
    rows.integer("overlap_ns", |row| Some(row.analysis.as_ref()?.overlap_ns));
    rows.integer("predicted_ns", |row| Some(row.predicted?[0]));
    for (at, (name, ..)) in SETTINGS.into_iter().enumerate() {
        rows.integer(name, |row| Some(row.predicted?[1 + at]));
    }
    rows.text("broken", |row| row.of.build.build.as_ref().err());
    rows.batch()
}

/// A row of `utilisation`: from when to when, units, cores.
type StepRow<'a> = (&'a Measured<'a>, (i64, i64), f64, f64);

fn utilisation_rows(all: &[Measured<'_>]) -> RecordBatch {
    let mut steps: Vec<StepRow<'_>> = Vec::new();
    for of in all {
        let Ok(build) = &of.build.build else { continue };
        let series = analyse(build).utilisation.series;
        for (index, now) in series.iter().enumerate() {
            let to_ns = series.get(index + 1).map_or(build.wall_ns(), |next| next.from_ns);
            steps.push((of, (now.from_ns, to_ns), now.units, now.cores));
        }
    }
    let mut rows = Columns::of(&steps);
    head(&mut rows, |(of, ..)| of.stored, |(of, ..)| of.build.side);
    rows.text("benchmark", |(of, ..)| Some(&of.build.benchmark));
    rows.text("config", |(of, ..)| Some(&of.build.config));
    rows.small("round", |(of, ..)| Some(of.build.round));
    rows.small("sequence", |(of, ..)| Some(of.build.sequence));
    rows.integer("from_ns", |(_, (from, _), ..)| Some(*from));
    rows.integer("to_ns", |(_, (_, to), ..)| Some(*to));
    rows.float("units", |(.., units, _)| Some(*units));
    rows.float("cores", |(.., cores)| Some(*cores));
    rows.batch()
}

/// A case with the run it is of, and the typical builds analysed: with pipelining, without.
struct CaseRow<'a> {
    stored: &'a StoredRun,
    case: Pipelining,
    analyses: [Option<Analysis>; 2],
}

impl CaseRow<'_> {
    const fn mode(&self, at: usize) -> &Mode {
        if at == 0 { &self.case.on } else { &self.case.off }
    }
}

fn typical(mode: &Mode) -> Option<&Build> {
    mode.typical.as_ref()?.build.as_ref().ok()
}

fn pipelining_rows(all: Vec<Measured<'_>>, confidence: f64) -> RecordBatch {
    let mut stored: Vec<&StoredRun> = all.iter().map(|of| of.stored).collect();
    stored.dedup_by_key(|stored| &stored.run.job);
    let cases = builds::pipelining(all.into_iter().map(|of| of.build).collect(), confidence);
    let row = |case: Pipelining| {
        let at = stored.binary_search_by(|stored| stored.run.job.cmp(&case.job)).ok()?;
        let analyses = [&case.on, &case.off].map(|mode| typical(mode).map(analyse));
        Some(CaseRow { stored: stored[at], case, analyses })
    };
    let all: Vec<CaseRow<'_>> = cases.into_iter().filter_map(row).collect();
    let mut rows = Columns::of(&all);
    head(&mut rows, |row| row.stored, |row| row.case.side);
    rows.text("benchmark", |row| Some(&row.case.benchmark));
    rows.text("config", |row| Some(&row.case.config));
    rows.float("gain", |row| Some(row.case.gain.as_ref().ok()?.estimate));
    rows.float("gain_low", |row| Some(row.case.gain.as_ref().ok()?.low));
    rows.float("gain_high", |row| Some(row.case.gain.as_ref().ok()?.high));
    rows.text("no_gain", |row| row.case.gain.as_ref().err().map(ToString::to_string));
    for (at, names) in MODES.into_iter().enumerate() {
        mode_columns(&mut rows, at, names);
    }
    rows.batch()
}

/// The columns of each way.
const MODES: [[&str; 9]; 2] = [
    [
        "on_builds",
        "on_median_ns",
        "on_units",
        "on_critical_path_ns",
        "on_critical_path",
        "on_front_share",
        "on_codegen_share",
        "on_utilisation",
        "on_overlap_ns",
    ],
    [
        "off_builds",
        "off_median_ns",
        "off_units",
        "off_critical_path_ns",
        "off_critical_path",
        "off_front_share",
        "off_codegen_share",
        "off_utilisation",
        "off_overlap_ns",
    ],
];

fn analysis<'a>(row: &'a CaseRow<'_>, at: usize) -> Option<&'a Analysis> {
    row.analyses[at].as_ref()
}

fn mode_columns(rows: &mut Columns<'_, CaseRow<'_>>, at: usize, names: [&'static str; 9]) {
    let [builds, median, units, path_ns, path, front, codegen, utilisation, overlap] = names;
    rows.small(builds, |row| Some(row.mode(at).builds));
    rows.float(median, |row| row.mode(at).median_ns);
    rows.small(units, |row| Some(analysis(row, at)?.units));
    rows.integer(path_ns, |row| Some(analysis(row, at)?.critical_path.length_ns()));
    rows.text(path, |row| {
        Some(path::text(typical(row.mode(at))?, &analysis(row, at)?.critical_path))
    });
    rows.float(front, |row| {
        let path = &analysis(row, at)?.critical_path;
        share(path, path.parts.front_ns)
    });
    // Linking is the last of code generation.
    rows.float(codegen, |row| {
        let path = &analysis(row, at)?.critical_path;
        share(path, path.parts.codegen_ns + path.parts.link_ns)
    });
    rows.float(utilisation, |row| Some(analysis(row, at)?.utilisation.mean));
    rows.integer(overlap, |row| Some(analysis(row, at)?.overlap_ns));
}
