//! Measured builds: the units of one process with its wall time, checked by the model, and what
//! pipelining is worth to a case.
//!
//! A build is read from two tables. Its units are the rows of `units` with one (job, benchmark,
//! config, side, round, sequence), its wall time is the sample of `wall` with the same. How it was
//! asked for stands in the axes `jobs` (all benchmark cores where there is no such axis, as cargo
//! does) and `pipelining` (`on` where there is none). What the model refuses as no build is kept
//! with the reason.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::logical_expr::{Expr, col, lit};
use dyno_model::build_graph::{Build, Gain, NoGain, gain};
use dyno_model::catalog::host::parse_cores;
use dyno_model::catalog::suite::Config;
use dyno_model::id::JobId;
use dyno_model::metric::WALL;
use dyno_model::record::{CompilationUnit, Need, RunRow, Side, UnitKind};
use dyno_model::stats::median;
use dyno_store::Folder;

use crate::error::Result;
use crate::reader::SummaryReader;
use crate::sql_text::quoted;

const JOBS: &str = "jobs";
const PIPELINING: &str = "pipelining";

/// One process that built a crate graph.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredBuild {
    pub job: JobId,
    pub suite: String,
    pub host: String,
    pub benchmark: String,
    pub config: String,
    pub side: Side,
    pub round: u32,
    pub sequence: u32,
    /// Why not to trust it; empty if nothing disturbed it.
    pub taint: String,
    /// The sample of `wall`; `None` where there is none.
    pub wall_ns: Option<i64>,
    pub jobs: Option<u32>,
    pub pipelining: Option<bool>,
    /// Benchmark cores; 0 where the run names none.
    pub cores: u32,
    /// Rows of `units`.
    pub units: u32,
    /// The build; where the rows are none, the error says why.
    pub build: Result<Build, String>,
}

impl MeasuredBuild {
    /// SQL that gives what is said of it as a whole.
    pub fn sql(&self) -> String {
        let columns = "wall_ns, jobs, pipelining, units, critical_path_ns, critical_path,\n       \
             path_front_ns, path_codegen_ns, path_link_ns, path_other_ns, path_waited_ns,\n       \
             utilisation, overlap_ns, predicted_ns";
        format!("SELECT {columns}\nFROM builds\n{}", self.condition())
    }

    /// SQL that gives its units, in the order of starts.
    pub fn sql_for_units(&self) -> String {
        let columns =
            "unit, name, version, kind, start_ns, metadata_ns, codegen_ns, link_ns, end_ns";
        format!("SELECT {columns}\nFROM units\n{}\nORDER BY unit", self.condition())
    }

    /// SQL that gives the use of the cores over time.
    pub fn sql_for_utilisation(&self) -> String {
        let condition = self.condition();
        format!(
            "SELECT from_ns, to_ns, units, cores\nFROM utilisation\n{condition}\nORDER BY from_ns"
        )
    }

    fn condition(&self) -> String {
        format!(
            "WHERE job = {} AND benchmark = {} AND config = {} AND side = {} AND sequence = {}",
            quoted(self.job.hex()),
            quoted(&self.benchmark),
            quoted(&self.config),
            quoted(self.side.name()),
            self.sequence
        )
    }
}

/// What identifies one process: job, benchmark, config, side, round, sequence.
type Process = (String, String, String, Side, u32, u32);

/// The builds of `runs` that `filter`, over columns which `units` and `samples` share, leaves; by
/// job, benchmark, config, side, round.
pub(crate) async fn read(
    reader: &SummaryReader,
    runs: &[&RunRow],
    filter: Option<Expr>,
) -> Result<Vec<MeasuredBuild>> {
    let by_job: BTreeMap<&str, &RunRow> = runs.iter().map(|run| (run.job.hex(), *run)).collect();
    let mut processes: BTreeMap<Process, Vec<Result<CompilationUnit, String>>> = BTreeMap::new();
    for batch in reader.read_published(Folder::Units, runs, &[], filter.clone()).await? {
        let jobs = text(&batch, "job");
        for (row, job) in jobs.iter().enumerate().filter_map(|(row, job)| Some((row, job?))) {
            if let Some(process) = process(&batch, row).filter(|_| by_job.contains_key(job)) {
                processes.entry(process).or_default().push(unit(&batch, row));
            }
        }
    }
    let with_units: BTreeMap<&str, &RunRow> = processes
        .keys()
        .filter_map(|(job, ..)| Some((job.as_str(), *by_job.get(job.as_str())?)))
        .collect();
    let with_units: Vec<&RunRow> = with_units.into_values().collect();
    let walls = walls(reader, &with_units, filter).await?;
    let measured = |(process, units): (Process, Vec<Result<CompilationUnit, String>>)| {
        let run = by_job.get(process.0.as_str())?;
        let wall = walls.get(&process);
        Some(measured(run, process, units, wall))
    };
    Ok(processes.into_iter().filter_map(measured).collect())
}

/// Wall time and taint of the processes of `runs`.
async fn walls(
    reader: &SummaryReader,
    runs: &[&RunRow],
    filter: Option<Expr>,
) -> Result<BTreeMap<Process, (i64, String)>> {
    let columns = ["job", "benchmark", "config", "side", "round", "sequence", "value", "taint"];
    let wall = col("metric").eq(lit(WALL));
    let filter = filter.map_or(wall.clone(), |filter| wall.and(filter));
    let mut walls = BTreeMap::new();
    for batch in reader.read_published(Folder::Samples, runs, &columns, Some(filter)).await? {
        let (values, taints) = (integer(&batch, "value"), text(&batch, "taint"));
        for row in 0..batch.num_rows() {
            if let Some(process) = process(&batch, row) {
                walls.insert(process, (values.value(row), taints.value(row).to_string()));
            }
        }
    }
    Ok(walls)
}

fn measured(
    run: &RunRow,
    (_, benchmark, config, side, round, sequence): Process,
    units: Vec<Result<CompilationUnit, String>>,
    wall: Option<&(i64, String)>,
) -> MeasuredBuild {
    let count = units.len() as u32;
    let units: Result<Vec<CompilationUnit>, String> = units.into_iter().collect();
    let taint = match (wall, &units) {
        (Some((_, taint)), _) => taint.clone(),
        (None, Ok(units)) => units.first().map(|unit| unit.taint.clone()).unwrap_or_default(),
        (None, Err(_)) => String::new(),
    };
    let axes = Config::read(&config);
    let cores = parse_cores(&run.fingerprint.benchmark_cores).map_or(0, |cores| cores.len() as u32);
    let jobs = axes.0.get(JOBS).map_or((cores > 0).then_some(cores), |jobs| jobs.parse().ok());
    let pipelining = match axes.0.get(PIPELINING).map_or("on", String::as_str) {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    };
    let build = || {
        let units = units?;
        let (wall_ns, _) = wall.ok_or("no sample of its wall time")?;
        let jobs = jobs.ok_or("no number of jobs")?;
        let pipelining = pipelining.ok_or("pipelining is neither on nor off")?;
        Build::new(units, *wall_ns, jobs, pipelining, cores).map_err(|why| why.to_string())
    };
    MeasuredBuild {
        job: run.job.clone(),
        suite: run.suite.clone(),
        host: run.host.clone(),
        benchmark,
        config,
        side,
        round,
        sequence,
        taint,
        wall_ns: wall.map(|(wall_ns, _)| *wall_ns),
        jobs,
        pipelining,
        cores,
        units: count,
        build: build(),
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a dyn Array {
    batch.column_by_name(name).expect("a column of the table").as_ref()
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> &'a arrow::array::StringViewArray {
    column(batch, name).as_string_view()
}

fn integer<'a>(batch: &'a RecordBatch, name: &str) -> &'a arrow::array::Int64Array {
    column(batch, name).as_primitive::<Int64Type>()
}

fn count(batch: &RecordBatch, name: &str, row: usize) -> u32 {
    column(batch, name).as_primitive::<Int32Type>().value(row).max(0) as u32
}

fn process(batch: &RecordBatch, row: usize) -> Option<Process> {
    let name = |name: &str| text(batch, name).value(row).to_string();
    let side = text(batch, "side").value(row);
    let side = Side::BOTH.into_iter().find(|known| known.name() == side)?;
    let (round, sequence) = (count(batch, "round", row), count(batch, "sequence", row));
    Some((name("job"), name("benchmark"), name("config"), side, round, sequence))
}

/// One row of `units`; the error says what a foreign file has in it.
fn unit(batch: &RecordBatch, row: usize) -> Result<CompilationUnit, String> {
    let name = |name: &str| text(batch, name).value(row).to_string();
    let (_, benchmark, config, side, round, sequence) =
        process(batch, row).ok_or("a side that is none")?;
    let kind = name("kind");
    let known_kind = UnitKind::ALL.into_iter().find(|known_kind| known_kind.name() == kind);
    let moment = |name: &str| {
        let moments = integer(batch, name);
        moments.is_valid(row).then(|| moments.value(row))
    };
    let number = |name: &str| integer(batch, name).value(row);
    let needs = |name: &str, end: bool| -> Result<Vec<Need>, String> {
        let listed = column(batch, name).as_list::<i32>().value(row);
        let need = |unit: &i32| {
            let unit = u32::try_from(*unit).map_err(|_| format!("a need of unit {unit}"))?;
            Ok(Need { unit, end })
        };
        listed.as_primitive::<Int32Type>().values().iter().map(need).collect()
    };
    let mut all_needs = needs("needs_metadata", false)?;
    all_needs.extend(needs("needs_end", true)?);
    all_needs.sort_by_key(|need| (need.unit, need.end));
    Ok(CompilationUnit {
        benchmark,
        config,
        round,
        side,
        sequence,
        unit: count(batch, "unit", row),
        name: name("name"),
        version: name("version"),
        kind: known_kind.ok_or_else(|| format!("a unit of the kind `{}`", kind.escape_debug()))?,
        start_ns: number("start_ns"),
        metadata_ns: moment("metadata_ns"),
        codegen_ns: moment("codegen_ns"),
        link_ns: moment("link_ns"),
        end_ns: number("end_ns"),
        user_ns: number("user_ns"),
        system_ns: number("system_ns"),
        max_rss_bytes: number("max_rss_bytes"),
        threads: count(batch, "threads", row),
        needs: all_needs,
        taint: name("taint"),
    })
}

/// What pipelining is worth to one side of a case, in one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipelining {
    pub job: JobId,
    pub suite: String,
    pub host: String,
    pub benchmark: String,
    /// The case's config without the axis `pipelining`.
    pub config: String,
    pub side: Side,
    pub on: Mode,
    pub off: Mode,
    pub gain: Result<Gain, NoGain>,
}

/// The builds with pipelining one way that nothing disturbed, of each round the last.
#[derive(Debug, Clone, PartialEq)]
pub struct Mode {
    pub builds: u32,
    /// The median of their wall times.
    pub median_ns: Option<f64>,
    /// The one with the median wall time (of two in the middle the faster); `None` where there is
    /// none that is a build.
    pub typical: Option<MeasuredBuild>,
}

impl Pipelining {
    /// SQL that gives its numbers.
    pub fn sql(&self) -> String {
        format!(
            "SELECT gain, gain_low, gain_high, on_builds, off_builds, on_median_ns, off_median_ns\n\
             FROM pipelining\n\
             WHERE job = {} AND benchmark = {} AND config = {} AND side = {}",
            quoted(self.job.hex()),
            quoted(&self.benchmark),
            quoted(&self.config),
            quoted(self.side.name())
        )
    }
}

/// Every case of `builds`; by job, benchmark, config, side.
pub(crate) fn pipelining(builds: Vec<MeasuredBuild>, confidence: f64) -> Vec<Pipelining> {
    type Key = (JobId, String, String, Side);
    let mut cases: BTreeMap<Key, Vec<MeasuredBuild>> = BTreeMap::new();
    for build in builds {
        let mut config = Config::read(&build.config);
        config.0.remove(PIPELINING);
        let (job, benchmark) = (build.job.clone(), build.benchmark.clone());
        cases.entry((job, benchmark, config.to_string(), build.side)).or_default().push(build);
    }
    let case = |((job, benchmark, config, side), builds): (Key, Vec<MeasuredBuild>)| {
        let first = builds.first()?;
        let (suite, host) = (first.suite.clone(), first.host.clone());
        let [(on, on_walls), (off, off_walls)] = [true, false].map(|way| mode(&builds, way));
        let gain = gain(&on_walls, &off_walls, confidence);
        Some(Pipelining { job, suite, host, benchmark, config, side, on, off, gain })
    };
    cases.into_iter().filter_map(case).collect()
}

/// The builds of one case with pipelining this way, and their wall times.
fn mode(builds: &[MeasuredBuild], pipelining: bool) -> (Mode, Vec<i64>) {
    let mut rounds: BTreeMap<u32, &MeasuredBuild> = BTreeMap::new();
    let is_usable = |b: &&MeasuredBuild| {
        b.pipelining == Some(pipelining) && b.taint.is_empty() && b.wall_ns.is_some()
    };
    for build in builds.iter().filter(is_usable) {
        let newest = rounds.entry(build.round).or_insert(build);
        if newest.sequence < build.sequence {
            *newest = build;
        }
    }
    let mut walls: Vec<i64> = rounds.values().filter_map(|build| build.wall_ns).collect();
    let mut whole: Vec<&MeasuredBuild> =
        rounds.into_values().filter(|build| build.build.is_ok()).collect();
    whole.sort_by_key(|build| (build.wall_ns, build.sequence));
    let typical = whole.get(whole.len().saturating_sub(1) / 2).map(|build| (*build).clone());
    let median_ns = median(&mut walls);
    (Mode { builds: walls.len() as u32, median_ns, typical }, walls)
}
