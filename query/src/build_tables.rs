//! The tables `builds`, `utilisation` and `pipelining`: what the model says of measured builds.
//!
//! Nothing of it is stored, so that a better analysis is one of old runs too. Planning a scan only
//! chooses the run rows that its filters leave; carrying it out reads their units, has the model
//! analyse each build, and simulates builds where the query asks for what comes of it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::datasource::TableType;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use dyno_model::build_graph::{Analysis, Build, CriticalPath, analyse, simulate};
use dyno_model::record::{RunRow, Side};
use dyno_store::StoredRun;
use futures::future::BoxFuture;

use crate::builds::{self, MeasuredBuild, Mode, Pipelining};
use crate::columns::Columns;
use crate::computed::ComputedExec;
use crate::critical_path;
use crate::error::Result;
use crate::judge::Judge;
use crate::reader::SummaryReader;
use crate::run_filter::{run_rows_matching, strip_qualifiers};

/// Columns that are the same for every row of a run, here and in `runs`.
const RUN_COLUMNS: [&str; 12] = [
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

/// One of the tables of builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuildTableKind {
    Builds,
    Utilisation,
    Pipelining,
}

impl BuildTableKind {
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
    const fn process_columns(self) -> &'static [&'static str] {
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
    kind: BuildTableKind,
    schema: SchemaRef,
}

impl BuildTable {
    pub(crate) fn new(judge: Arc<Judge>, kind: BuildTableKind) -> Self {
        let schema = rows(kind, Vec::new(), judge.policy.confidence, false).schema();
        Self { judge, kind, schema }
    }

    /// Whether a column of [`SETTINGS`] or `predicted_ns` is asked for.
    fn wants_simulation(&self, projection: Option<&Vec<usize>>) -> bool {
        let is_predicted =
            |column: &usize| self.schema.field(*column).name().starts_with("predicted");
        self.kind == BuildTableKind::Builds
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
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let columns = &self.judge.reader.snapshot.rows;
        let is_shared = |name: &str| RUN_COLUMNS.contains(&name);
        let matching = run_rows_matching(state, columns, filters, is_shared)?;
        let chooses_processes = |filter: &&Expr| {
            let columns = filter.column_refs();
            let shared = self.kind.process_columns();
            !filter.is_volatile()
                && !columns.is_empty()
                && columns.iter().all(|column| shared.contains(&column.name()))
        };
        let filter = conjunction(filters.iter().filter(chooses_processes).cloned());
        let filter = filter.map(strip_qualifiers).transpose()?;
        let matching = self.judge.run_rows().iter().zip(matching).filter(|(_, matches)| *matches);
        let run_rows: Arc<Vec<Arc<StoredRun>>> =
            Arc::new(matching.map(|(row, _)| Arc::clone(row)).collect());
        let (judge, kind) = (Arc::clone(&self.judge), self.kind);
        let simulated = self.wants_simulation(projection);
        let compute = move || -> BoxFuture<'static, Result<RecordBatch>> {
            let (judge, run_rows, filter) =
                (Arc::clone(&judge), Arc::clone(&run_rows), filter.clone());
            Box::pin(async move {
                let builds = measured(&judge.reader, &run_rows, filter).await?;
                Ok(rows(kind, builds, judge.policy.confidence, simulated))
            })
        };
        let plan = ComputedExec::new(kind.name(), &self.schema, projection, Arc::new(compute))?;
        Ok(Arc::new(plan))
    }
}

/// A build with its run row.
struct Measured<'a> {
    stored: &'a StoredRun,
    build: MeasuredBuild,
}

async fn measured<'a>(
    reader: &SummaryReader,
    run_rows: &'a [Arc<StoredRun>],
    filter: Option<Expr>,
) -> Result<Vec<Measured<'a>>> {
    let runs: Vec<&RunRow> = run_rows.iter().map(|row| &row.run).collect();
    let measured = |build: MeasuredBuild| {
        // RunRow rows are ordered by job.
        let position = run_rows.binary_search_by(|row| row.run.job.cmp(&build.job)).ok()?;
        Some(Measured { stored: run_rows[position].as_ref(), build })
    };
    Ok(builds::read(reader, &runs, filter).await?.into_iter().filter_map(measured).collect())
}

fn rows(
    kind: BuildTableKind,
    builds: Vec<Measured<'_>>,
    confidence: f64,
    simulated: bool,
) -> RecordBatch {
    match kind {
        BuildTableKind::Builds => build_rows(builds, simulated),
        BuildTableKind::Utilisation => utilisation_rows(&builds),
        BuildTableKind::Pipelining => pipelining_rows(builds, confidence),
    }
}

/// The columns that say which run and side it is.
fn run_columns<'a, R>(
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
    measured: Measured<'a>,
    analysis: Option<Analysis>,
    /// Predicted walls with its own settings, then with [`SETTINGS`].
    predicted: Option<[i64; 1 + SETTINGS.len()]>,
}

impl<'a> BuildRow<'a> {
    fn new(measured: Measured<'a>, simulated: bool) -> Self {
        let build = measured.build.build.as_ref().ok();
        let analysis = build.map(analyse);
        let predicted = build.filter(|_| simulated).map(predicted);
        Self { measured, analysis, predicted }
    }
}

fn path<'a>(row: &'a BuildRow<'_>) -> Option<&'a CriticalPath> {
    row.analysis.as_ref().map(|analysis| &analysis.critical_path)
}

fn predicted(build: &Build) -> [i64; 1 + SETTINGS.len()] {
    let simulated_ns = simulate(build, build.jobs(), build.pipelining()).wall_ns();
    let mut walls = [simulated_ns; 1 + SETTINGS.len()];
    for (predicted, (_, jobs, pipelining)) in walls[1..].iter_mut().zip(SETTINGS) {
        *predicted = simulate(build, jobs, pipelining).wall_ns();
    }
    walls
}

/// The share of a path that `ns` of it is; `None` for a path of no length.
fn share(path: &CriticalPath, ns: i64) -> Option<f64> {
    let length = path.length_ns();
    (length > 0).then(|| ns as f64 / length as f64)
}

fn build_rows(builds: Vec<Measured<'_>>, simulated: bool) -> RecordBatch {
    let analysed: Vec<BuildRow<'_>> =
        builds.into_iter().map(|build| BuildRow::new(build, simulated)).collect();
    let mut rows = Columns::new(&analysed);
    run_columns(&mut rows, |row| row.measured.stored, |row| row.measured.build.side);
    rows.text("benchmark", |row| Some(&row.measured.build.benchmark));
    rows.text("config", |row| Some(&row.measured.build.config));
    rows.u32("round", |row| Some(row.measured.build.round));
    rows.u32("sequence", |row| Some(row.measured.build.sequence));
    rows.text("taint", |row| Some(&row.measured.build.taint));
    rows.u32("jobs", |row| row.measured.build.jobs);
    rows.flag("pipelining", |row| row.measured.build.pipelining);
    rows.u32("cores", |row| Some(row.measured.build.cores));
    rows.u32("units", |row| Some(row.measured.build.units));
    rows.integer("wall_ns", |row| row.measured.build.wall_ns);
    rows.integer("critical_path_ns", |row| Some(path(row)?.length_ns()));
    rows.text("critical_path", |row| {
        Some(critical_path::text(row.measured.build.build.as_ref().ok()?, path(row)?))
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
    rows.text("broken", |row| row.measured.build.build.as_ref().err());
    rows.batch()
}

/// A row of `utilisation`: from when to when, units, cores.
type StepRow<'a> = (&'a Measured<'a>, (i64, i64), f64, f64);

fn utilisation_rows(builds: &[Measured<'_>]) -> RecordBatch {
    let mut steps: Vec<StepRow<'_>> = Vec::new();
    for measured in builds {
        let Ok(build) = &measured.build.build else { continue };
        let series = analyse(build).utilisation.series;
        for (index, now) in series.iter().enumerate() {
            let to_ns = series.get(index + 1).map_or(build.wall_ns(), |next| next.from_ns);
            steps.push((measured, (now.from_ns, to_ns), now.units, now.cores));
        }
    }
    let mut rows = Columns::new(&steps);
    run_columns(&mut rows, |(m, ..)| m.stored, |(m, ..)| m.build.side);
    rows.text("benchmark", |(m, ..)| Some(&m.build.benchmark));
    rows.text("config", |(m, ..)| Some(&m.build.config));
    rows.u32("round", |(m, ..)| Some(m.build.round));
    rows.u32("sequence", |(m, ..)| Some(m.build.sequence));
    rows.integer("from_ns", |(_, (from, _), ..)| Some(*from));
    rows.integer("to_ns", |(_, (_, to), ..)| Some(*to));
    rows.float("units", |(.., units, _)| Some(*units));
    rows.float("cores", |(.., cores)| Some(*cores));
    rows.batch()
}

/// A case with its run row, and its typical builds analysed: with pipelining, without.
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

fn pipelining_rows(builds: Vec<Measured<'_>>, confidence: f64) -> RecordBatch {
    let mut stored: Vec<&StoredRun> = builds.iter().map(|build| build.stored).collect();
    stored.dedup_by_key(|stored| &stored.run.job);
    let cases = builds::pipelining(builds.into_iter().map(|m| m.build).collect(), confidence);
    let row = |case: Pipelining| {
        let position = stored.binary_search_by(|stored| stored.run.job.cmp(&case.job)).ok()?;
        let analyses = [&case.on, &case.off].map(|mode| typical(mode).map(analyse));
        Some(CaseRow { stored: stored[position], case, analyses })
    };
    let cases: Vec<CaseRow<'_>> = cases.into_iter().filter_map(row).collect();
    let mut rows = Columns::new(&cases);
    run_columns(&mut rows, |row| row.stored, |row| row.case.side);
    rows.text("benchmark", |row| Some(&row.case.benchmark));
    rows.text("config", |row| Some(&row.case.config));
    rows.float("gain", |row| Some(row.case.gain.as_ref().ok()?.estimate));
    rows.float("gain_low", |row| Some(row.case.gain.as_ref().ok()?.low));
    rows.float("gain_high", |row| Some(row.case.gain.as_ref().ok()?.high));
    rows.text("no_gain", |row| row.case.gain.as_ref().err().map(ToString::to_string));
    for (position, names) in MODES.into_iter().enumerate() {
        mode_columns(&mut rows, position, names);
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
    rows.u32(builds, |row| Some(row.mode(at).builds));
    rows.float(median, |row| row.mode(at).median_ns);
    rows.u32(units, |row| Some(analysis(row, at)?.units));
    rows.integer(path_ns, |row| Some(analysis(row, at)?.critical_path.length_ns()));
    rows.text(path, |row| {
        Some(critical_path::text(typical(row.mode(at))?, &analysis(row, at)?.critical_path))
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
