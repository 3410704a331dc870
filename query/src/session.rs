//! A store opened for asking: DataFusion over the tables, read-only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Field, Float64Type, Schema};
use datafusion::catalog::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::Case;
use dyno_model::commit_name::CommitName;
use dyno_model::id::JobId;
use dyno_model::plan::{Job, JobInputs};
use dyno_model::record::{RunRow, phase};
use dyno_model::sampling::Target;
use dyno_model::states::PastStates;
use dyno_model::verdict::ScalingCase;
use dyno_store::{Folder, Problem, Store, environment_of, schema, series};
use tokio::sync::OnceCell;

use crate::build_tables::{BuildTable, BuildTableKind};
use crate::builds::{self, MeasuredBuild, Pipelining};
use crate::compared::PairComparison;
use crate::error::{Error, Result};
use crate::functions;
use crate::judge::{Judge, PairTable};
use crate::judged_table::{CompareFunction, JudgedTable};
use crate::noise::{History, PastRuns};
use crate::null_comparisons::{self, NullComparisons};
use crate::pairs::{Filter, bound_by_job, resolve};
use crate::reader::{StoredSummary, SummaryReader};
use crate::scaling;
use crate::snapshot::Snapshot;
use crate::spelling::uses_old_columns;
use crate::sql_catalog::{self, ColumnDescription, CompletionNames, EntryKind, SQL_CATALOG};
use crate::sql_text::quoted;
use crate::statements::is_short_enough;
use crate::stored_table::{STORE_URL, StoredTable, collect};
use crate::views::VIEWS;

/// The store as it stood when the session was opened, under one policy.
///
/// What it has is listed in [`SQL_CATALOG`]: the stored tables, views over them, the function
/// `compare`, and the model's estimates as functions.
pub struct Session {
    context: SessionContext,
    /// A context that has columns under their old names too, made when a query needs it.
    old_spellings: OnceCell<SessionContext>,
    judge: Arc<Judge>,
}

/// A benchmark and its config.
pub type CaseKey = (String, String);

/// A run that counted instructions.
#[derive(Debug, Clone, PartialEq)]
pub struct PastCounting {
    /// Seconds that counting took.
    pub seconds: f64,
    /// The mean wall time of each case and side in its rounds, in ns.
    pub walls: Vec<(CaseKey, f64)>,
}

impl Session {
    /// Reads the run rows of `store` and opens its tables. Everything else is read when asked for.
    ///
    /// # Errors
    /// [`Error::Store`] if the store cannot be listed.
    pub async fn open(store: &Store, policy: Policy) -> Result<Self> {
        let snapshot = Arc::new(Snapshot::read(store).await?);
        let open_context = async || -> Result<Self, DataFusionError> {
            let stored = SessionContext::new_with_config(session_config());
            let url = ObjectStoreUrl::parse(STORE_URL)?;
            stored.register_object_store(url.as_ref(), Arc::clone(store.objects()));
            for folder in STORED {
                let table = StoredTable::new(Arc::clone(&snapshot), folder);
                stored.register_table(folder.name(), Arc::new(table))?;
            }
            let judge = Arc::new(Judge::new(SummaryReader { snapshot, stored }, policy));
            let context = query_context(&judge, false).await?;
            Ok(Self { context, old_spellings: OnceCell::new(), judge })
        };
        open_context().await.map_err(|e| Error::sql(&e))
    }

    /// The context that knows the names which `sql` uses.
    async fn context_for(&self, sql: &str) -> Result<&SessionContext> {
        if !uses_old_columns(sql) {
            return Ok(&self.context);
        }
        let context = self.old_spellings.get_or_try_init(|| query_context(&self.judge, true));
        context.await.map_err(|e| Error::sql(&e))
    }

    /// The answer to one query; at least one batch, so that its columns are known.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for anything but a query (`SELECT`, `WITH`, `VALUES`, `EXPLAIN`, `SHOW`,
    /// `DESCRIBE`), [`Error::Sql`] for what is wrong or fails; and the errors of
    /// [`Session::compare`] where the query calls `compare`.
    pub async fn sql(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let sql_error = |e: DataFusionError| Error::sql(&e);
        let read_only = || Error::ReadOnly {
            statement: sql.split_whitespace().next().unwrap_or_default().to_uppercase(),
        };
        if !is_short_enough(sql) {
            return Err(Error::Sql(
                "this statement is too long: it may have 6 000 words and operators, beside the values of its lists".into(),
            ));
        }
        let context = self.context_for(sql).await?;
        let state = context.state();
        let statement = state.sql_to_statement(sql, &state.config().options().sql_parser.dialect);
        let statement = statement.map_err(sql_error)?;
        if !is_read_only(&statement) {
            return Err(read_only());
        }
        let plan = state.statement_to_plan(statement).await.map_err(sql_error)?;
        let options = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        options.verify_plan(&plan).map_err(|_| read_only())?;
        let columns = Arc::clone(plan.schema().inner());
        let mut batches = collect(context, &self.judge.reader.snapshot, plan).await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(columns));
        }
        Ok(batches)
    }

    /// Compares two commits, each given as an id, a prefix of 7 digits or more, a name with its
    /// meaning of today, or what was asked for when the job was requested. What is pooled and what q
    /// is adjusted over: docs/sql.md.
    ///
    /// # Errors
    /// [`Error::NoComparison`] with what the store has instead; [`Error::Ambiguous`].
    pub async fn compare(
        &self,
        baseline: impl Into<CommitName>,
        candidate: impl Into<CommitName>,
        filter: &Filter,
    ) -> Result<PairComparison> {
        let (baseline, candidate) = (baseline.into(), candidate.into());
        self.judge.compare([&baseline, &candidate], filter).await
    }

    /// The suites of the runs that count, each with the names that its commits were asked for by.
    pub fn suites(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut suites: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for row in self.judge.run_rows() {
            let names = [&row.run.baseline, &row.run.candidate].map(|built| built.asked.as_str());
            suites.entry(&row.run.suite).or_default().extend(names);
        }
        suites
    }

    /// The stored summaries of every job of the pair that `compare` would find, none left out.
    pub async fn summaries_between(
        &self,
        baseline: &str,
        candidate: &str,
        filter: &Filter,
    ) -> Result<Vec<StoredSummary>> {
        let (baseline, candidate) = (CommitName::from(baseline), CommitName::from(candidate));
        let rows = resolve(self.judge.run_rows(), [&baseline, &candidate], filter)?.runs;
        let runs: Vec<_> = rows.iter().map(|row| &row.run).collect();
        self.judge.reader.summaries(&runs).await
    }

    /// What the store knows of the environments (host, fingerprint, image) of `runs` compared with
    /// themselves; each once, with no comparisons where there are none.
    pub async fn null_comparisons(&self, runs: &[RunRow]) -> Result<Vec<NullComparisons>> {
        null_comparisons::null_comparisons(&self.judge, runs).await
    }

    /// How each case of `compared` scales with its number of threads; what has no axis `threads` is
    /// in none. [`PairComparison::sql_for_scaling`] gives the same numbers.
    pub async fn scaling_cases(&self, compared: &PairComparison) -> Result<Vec<ScalingCase>> {
        let Judge { reader, policy, .. } = self.judge.as_ref();
        let runs: Vec<&RunRow> = compared.runs.iter().collect();
        scaling::cases(reader, policy, &runs, &compared.filter).await
    }

    /// Every build of `compared` that has units, by job, benchmark, config, side and round.
    /// [`MeasuredBuild::sql`] gives the same numbers.
    pub async fn builds(&self, compared: &PairComparison) -> Result<Vec<MeasuredBuild>> {
        let runs: Vec<&RunRow> = compared.runs.iter().collect();
        let mut builds = builds::read(&self.judge.reader, &runs, None).await?;
        let case = |b: &MeasuredBuild| (b.benchmark.clone(), b.config.clone());
        bound_by_job(&mut builds, &runs, &compared.filter, |b| (b.job.clone(), case(b)));
        Ok(builds)
    }

    /// What pipelining is worth to each case of `compared`, of each job by itself, with a typical
    /// build each way. [`Pipelining::sql`] gives the same numbers.
    pub async fn pipelining(&self, compared: &PairComparison) -> Result<Vec<Pipelining>> {
        Ok(builds::pipelining(self.builds(compared).await?, self.judge.policy.confidence))
    }

    /// The columns of one of the tables, or of what a table function or an aggregate gives; `None`
    /// for a name that is none of these.
    pub async fn columns(&self, name: &str) -> Option<Vec<ColumnDescription>> {
        let entry = SQL_CATALOG.iter().find(|d| d.name == name)?;
        let fields = match entry.kind {
            EntryKind::Table | EntryKind::View => {
                self.context.table_provider(name).await.ok()?.schema()
            }
            EntryKind::TableFunction => {
                let table = PairTable::ALL.into_iter().find(|table| table.function() == name)?;
                self.judge.schema(table)
            }
            EntryKind::Function | EntryKind::Aggregate => {
                Arc::new(Schema::new(functions::fields_of(name)?))
            }
        };
        let column = |field: &Arc<Field>| ColumnDescription {
            name: field.name().clone(),
            kind: sql_catalog::type_name(field.data_type()),
        };
        Some(fields.fields().iter().map(column).collect())
    }

    /// Everything that can be named in a query, but for keywords.
    pub async fn names(&self) -> CompletionNames {
        let mut names = CompletionNames::default();
        for table in SQL_CATALOG.iter().filter(|d| d.kind.has_rows()) {
            let columns = self.columns(table.name).await.unwrap_or_default();
            let columns = columns.into_iter().map(|column| column.name).collect();
            names.tables.push((table.name.to_string(), columns));
        }
        let state = self.context.state();
        names.functions.extend(state.scalar_functions().keys().cloned());
        names.functions.extend(state.aggregate_functions().keys().cloned());
        names.functions.extend(state.window_functions().keys().cloned());
        names.functions.sort_unstable();
        names.functions.dedup();
        names
    }

    /// The jobs among `jobs` that ran on `host`.
    pub(crate) fn jobs_on_host<'a>(&self, jobs: &'a [JobId], host: &str) -> Vec<&'a JobId> {
        let on_host = self.judge.run_rows().iter().filter(|row| row.run.host == host);
        let on_host: BTreeSet<&JobId> = on_host.map(|row| &row.run.job).collect();
        jobs.iter().filter(|job| on_host.contains(job)).collect()
    }

    /// Checks the samples of `jobs` against their run rows; files that are not as they were published
    /// are set aside.
    pub(crate) async fn check_samples(&self, jobs: &[&JobId]) -> Result<()> {
        let jobs = jobs.iter().map(|job| (*job).clone()).collect();
        let snapshot = &self.judge.reader.snapshot;
        snapshot.have_published_rows(Folder::Samples, &jobs).await.map(drop)
    }

    /// The newest median wall time of each (benchmark, config) of `suite` on `host`, in ns. Where
    /// every round was disturbed it is the mean of those: good enough to say how long a case takes.
    pub async fn latest_walls(&self, suite: &str, host: &str) -> Result<BTreeMap<CaseKey, f64>> {
        let sql = format!(
            "SELECT benchmark, config, last_value(median ORDER BY finished) AS ns FROM history
             WHERE metric = 'wall' AND suite = {} AND host = {} GROUP BY benchmark, config",
            quoted(suite),
            quoted(host)
        );
        let clean: BTreeMap<CaseKey, f64> = self.ns_by_case(&sql).await?.into_iter().collect();
        let mut walls = match self.newest_run(suite, host, |_| true) {
            Some(newest) => self.walls_of(&newest.job).await?.into_iter().collect(),
            None => BTreeMap::new(),
        };
        walls.extend(clean);
        Ok(walls)
    }

    /// The newest run of `suite` on `host` that counted instructions.
    pub async fn newest_counting(&self, suite: &str, host: &str) -> Result<Option<PastCounting>> {
        let seconds = |run: &RunRow| run.phases_s.get(phase::COUNT).copied().unwrap_or(0.0);
        let Some(newest) = self.newest_run(suite, host, |run| seconds(run) > 0.0) else {
            return Ok(None);
        };
        let walls = self.walls_of(&newest.job).await?;
        Ok(Some(PastCounting { seconds: seconds(newest), walls }))
    }

    /// The mean wall time of each case and side of a job, disturbed rounds with the others.
    async fn walls_of(&self, job: &JobId) -> Result<Vec<(CaseKey, f64)>> {
        let sql = format!(
            "SELECT benchmark, config, avg(value) AS ns FROM samples
             WHERE metric = 'wall' AND job = {} GROUP BY benchmark, config, side",
            quoted(job.hex())
        );
        self.ns_by_case(&sql).await
    }

    /// The rows of a query for benchmark, config and nanoseconds.
    async fn ns_by_case(&self, sql: &str) -> Result<Vec<(CaseKey, f64)>> {
        let mut rows = Vec::new();
        for batch in self.sql(sql).await? {
            let [benchmarks, configs] = [0, 1].map(|i| batch.column(i).as_string_view());
            let ns = batch.column(2).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let key = (benchmarks.value(row).to_string(), configs.value(row).to_string());
                rows.push((key, ns.value(row)));
            }
        }
        Ok(rows)
    }

    /// The states that the series of a job of `suite` were in in past runs on its host, as it is, and
    /// in its image; as the job's targets.
    pub async fn past_states(
        &self,
        suite: &str,
        job: &Job,
    ) -> Result<Vec<Vec<Option<PastStates>>>> {
        let JobInputs { host, fingerprint, image_id, .. } = &job.inputs;
        let environment = environment_of(fingerprint, image_id, host);
        let runs = PastRuns::new(self.judge.run_rows()).newest_runs(&environment);
        let past = History::read(&self.judge.reader, &runs).await?.pooled(&runs);
        let states = |(case, targets): (&Case, &Vec<Target>)| {
            let config = case.config.to_string();
            let id = |target: &Target| {
                series((suite, host, fingerprint), &case.benchmark, &config, &target.metric)
            };
            targets.iter().map(|target| past.get(&id(target))?.states).collect()
        };
        Ok(job.cases.iter().zip(&job.targets).map(states).collect())
    }

    /// Seconds by phase of the newest run of `suite` on `host`.
    pub fn latest_phases(&self, suite: &str, host: &str) -> Option<&BTreeMap<String, f64>> {
        self.newest_run(suite, host, |_| true).map(|run| &run.phases_s)
    }

    /// The newest run of `suite` on `host` that `is_wanted`.
    fn newest_run(
        &self,
        suite: &str,
        host: &str,
        is_wanted: impl Fn(&RunRow) -> bool,
    ) -> Option<&RunRow> {
        let runs = self.judge.run_rows().iter().map(|row| &row.run);
        let matching = runs.filter(|run| run.suite == suite && run.host == host && is_wanted(run));
        matching.max_by_key(|run| run.finished_us)
    }

    /// Files that were set aside so far.
    pub fn problems(&self) -> Vec<Problem> {
        self.judge.reader.snapshot.store.problems()
    }
}

/// The folders whose files are read when a query scans them.
const STORED: [Folder; 3] = [Folder::Samples, Folder::Summaries, Folder::Units];

fn session_config() -> SessionConfig {
    // More partitions than cores: heavy group-bys gain a fifth (measured, 2 cores).
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    SessionConfig::new().with_target_partitions(cores.max(4)).with_information_schema(true)
}

/// A context with everything in [`SQL_CATALOG`].
async fn query_context(
    judge: &Arc<Judge>,
    has_old_columns: bool,
) -> Result<SessionContext, DataFusionError> {
    let SummaryReader { snapshot, stored } = &judge.reader;
    let context = SessionContext::new_with_config_rt(session_config(), stored.runtime_env());
    let runs =
        MemTable::try_new(schema::table_schema(Folder::Runs), vec![vec![snapshot.rows.clone()]])?;
    context.register_table("runs", Arc::new(runs))?;
    for folder in STORED {
        context.register_table(folder.name(), stored.table_provider(folder.name()).await?)?;
    }
    for table in PairTable::ALL {
        let judged = JudgedTable::all_pairs(Arc::clone(judge), table, has_old_columns);
        context.register_table(table.name(), Arc::new(judged))?;
        let judge = Arc::clone(judge);
        let function = CompareFunction { judge, table, has_old_columns };
        context.register_udtf(table.function(), Arc::new(function));
    }
    for kind in BuildTableKind::ALL {
        let table = BuildTable::new(Arc::clone(judge), kind);
        context.register_table(kind.name(), Arc::new(table))?;
    }
    functions::register(&context);
    for (name, sql) in VIEWS {
        context.sql(&format!("CREATE VIEW {name} AS {sql}")).await?;
    }
    Ok(context)
}

/// Whether a statement can only ask. What it asks is checked again on the plan.
fn is_read_only(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(statement) => matches!(
            statement.as_ref(),
            ast::Statement::Query(_)
                | ast::Statement::Explain { .. }
                | ast::Statement::ExplainTable { .. }
                | ast::Statement::ShowTables { .. }
                | ast::Statement::ShowColumns { .. }
                | ast::Statement::ShowFunctions { .. }
                | ast::Statement::ShowVariable { .. }
        ),
        Statement::Explain(explain) => is_read_only(&explain.statement),
        _ => false,
    }
}
