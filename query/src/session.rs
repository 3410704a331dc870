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
use dyno_model::id::JobId;
use dyno_model::record::RunRow;
use dyno_model::verdict::ScalingCase;

use crate::build_tables::{BuildTable, Which};
use crate::builds::{self, MeasuredBuild, Pipelining};
use crate::compare::{Compared, Filter, StoredSummary};
use crate::described::{self, Column, DESCRIBED, Kind, Names};
use crate::error::{Error, Problem, Result};
use crate::functions;
use crate::judged::{Answer, CompareFunction, Judge, JudgedTable};
use crate::layout::Folder;
use crate::scaling;
use crate::schema;
use crate::selfcheck::{self, AgainstItself};
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::table::{STORE_URL, ShardTable, collect};

/// Views that are plain SQL over the stored tables.
const VIEWS: &[(&str, &str)] = &[("history", HISTORY), ("noise", NOISE), ("rounds", ROUNDS)];

/// One row a series, job and side: the series' course over commits and time.
const HISTORY: &str = "
    SELECT suite, benchmark, config, metric, unit, host, series, 'baseline' AS side,
           baseline_commit AS commit, job, rounds, baseline_median AS median,
           baseline_min AS min, baseline_max AS max, finished, arch, month, emulated, trust
    FROM summaries WHERE baseline_median IS NOT NULL
    UNION ALL
    SELECT suite, benchmark, config, metric, unit, host, series, 'candidate',
           candidate_commit, job, rounds, candidate_median,
           candidate_min, candidate_max, finished, arch, month, emulated, trust
    FROM summaries WHERE candidate_median IS NOT NULL";

/// The pooled within-run variance of d of each series (design, \"Noise from history\") and its
/// degrees of freedom, Σ (nᵢ − 1) sᵢ² / Σ (nᵢ − 1), over runs on one fingerprint in one image: a
/// change of kernel, microcode, governor, engine or image starts afresh. `sd` is close to a
/// fraction: 0.01 is about one per cent a round.
const NOISE: &str = "
    SELECT s.suite, s.benchmark, s.config, s.metric, s.host, s.series, s.fingerprint, r.image_id,
           count(*) AS jobs, sum(s.rounds - 1) AS df,
           sum((s.rounds - 1) * s.variance) / sum(s.rounds - 1) AS variance,
           sqrt(sum((s.rounds - 1) * s.variance) / sum(s.rounds - 1)) AS sd,
           max(s.finished) AS newest
    FROM summaries s JOIN runs r ON s.job = r.job
    WHERE s.rounds > 1 AND s.variance >= 0 AND r.trust = 'trusted'
    GROUP BY s.suite, s.benchmark, s.config, s.metric, s.host, s.series, s.fingerprint, r.image_id";

/// One row a series, job and round, with what `model::verdict::summarise` takes of it: of each side
/// the last sample that is not tainted, NULL where there is none.
///
/// Filters on what is grouped by go down to the samples and choose files there; those on what
/// `runs` adds reach them as the list of jobs that the join is left with.
const ROUNDS: &str = "
    SELECT r.suite, r.benchmark, r.config, r.metric, r.unit, r.host, r.series, r.job, r.round,
           r.baseline, r.candidate, log_ratio(r.baseline, r.candidate) AS log_ratio, r.tainted,
           runs.baseline_commit, runs.candidate_commit, runs.baseline_asked, runs.candidate_asked,
           runs.finished, r.arch, r.month, runs.emulated, runs.trust
    FROM (SELECT suite, benchmark, config, metric, unit, host, series, job, round,
                 last_value(value ORDER BY sequence)
                     FILTER (WHERE side = 'baseline' AND taint = '') AS baseline,
                 last_value(value ORDER BY sequence)
                     FILTER (WHERE side = 'candidate' AND taint = '') AS candidate,
                 count(*) FILTER (WHERE taint <> '') AS tainted, arch, month
          FROM samples
          GROUP BY suite, benchmark, config, metric, unit, host, series, job, round, arch, month) r
    JOIN runs ON runs.job = r.job";

/// The store as it stood when the session was opened, under one policy.
///
/// What it has is listed in [`DESCRIBED`]: the stored tables, views over them, the function
/// `compare`, and the model's estimates as functions.
pub struct Session {
    context: SessionContext,
    judge: Arc<Judge>,
}

impl Session {
    /// Reads the run rows of `store` and opens its tables. Everything else is read when asked for.
    pub async fn open(store: &Store, policy: Policy) -> Result<Self> {
        let snapshot = Arc::new(Snapshot::take(store).await?);
        let opened = async || -> Result<Self, DataFusionError> {
            // More partitions than cores: heavy group-bys gain a fifth (measured, 2 cores).
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let config = SessionConfig::new()
                .with_target_partitions(cores.max(4))
                .with_information_schema(true);
            let stored = SessionContext::new_with_config(config.clone());
            let url = ObjectStoreUrl::parse(STORE_URL)?;
            stored.register_object_store(url.as_ref(), Arc::clone(store.objects()));
            let context = SessionContext::new_with_config_rt(config, stored.runtime_env());
            let runs = MemTable::try_new(
                schema::of_table(Folder::Runs),
                vec![vec![snapshot.rows.clone()]],
            )?;
            context.register_table("runs", Arc::new(runs))?;
            for folder in [Folder::Samples, Folder::Summaries, Folder::Units] {
                let table = Arc::new(ShardTable::new(Arc::clone(&snapshot), folder));
                stored.register_table(folder.name(), table.clone())?;
                context.register_table(folder.name(), table)?;
            }
            let judge = Arc::new(Judge { snapshot: Arc::clone(&snapshot), stored, policy });
            for (table, function, answer) in [
                ("comparisons", "compare", Answer::Comparisons),
                ("scaling", "compare_scaling", Answer::Scaling),
            ] {
                let all = JudgedTable::all(Arc::clone(&judge), answer);
                context.register_table(table, Arc::new(all))?;
                let judge = Arc::clone(&judge);
                context.register_udtf(function, Arc::new(CompareFunction { judge, answer }));
            }
            for which in Which::ALL {
                let table = BuildTable::new(Arc::clone(&judge), which);
                context.register_table(which.name(), Arc::new(table))?;
            }
            functions::register(&context);
            for (name, sql) in VIEWS {
                context.sql(&format!("CREATE VIEW {name} AS {sql}")).await?;
            }
            Ok(Self { context, judge })
        };
        opened().await.map_err(|e| Error::sql(&e))
    }

    /// The answer to one query; at least one batch, so that its columns are known.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for anything but a query (`SELECT`, `WITH`, `VALUES`, `EXPLAIN`, `SHOW`,
    /// `DESCRIBE`), [`Error::Sql`] for what is wrong or fails; and the errors of
    /// [`Session::compare`] where the query calls `compare`.
    pub async fn sql(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let wrong = |e: DataFusionError| Error::sql(&e);
        let refused = || Error::ReadOnly {
            statement: sql.split_whitespace().next().unwrap_or_default().to_uppercase(),
        };
        let state = self.context.state();
        let statement = state.sql_to_statement(sql, &state.config().options().sql_parser.dialect);
        let statement = statement.map_err(wrong)?;
        if !only_asks(&statement) {
            return Err(refused());
        }
        let plan = state.statement_to_plan(statement).await.map_err(wrong)?;
        let options = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        options.verify_plan(&plan).map_err(|_| refused())?;
        let columns = Arc::clone(plan.schema().inner());
        let mut batches = collect(&self.context, &self.judge.snapshot, plan).await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(columns));
        }
        Ok(batches)
    }

    /// Compares two commits, each given as an id, a prefix of 7 digits or more, or what was asked
    /// for when the job was requested. What is pooled and what q is adjusted over: docs/sql.md.
    ///
    /// # Errors
    /// [`Error::NoComparison`] with what the store has instead; [`Error::Ambiguous`].
    pub async fn compare(&self, base: &str, head: &str, filter: &Filter) -> Result<Compared> {
        self.judge.compared(base, head, filter).await
    }

    /// The stored summaries of every job of the pair that `compare` would find, none left out.
    pub async fn summaries_between(
        &self,
        base: &str,
        head: &str,
        filter: &Filter,
    ) -> Result<Vec<StoredSummary>> {
        let runs = &self.judge.snapshot.runs;
        let (_, stored) = crate::compare::resolve(runs, base, head, filter)?;
        let runs: Vec<_> = stored.iter().map(|stored| &stored.run).collect();
        self.judge.summaries(&runs).await
    }

    /// What the store knows of the environments (host, fingerprint, image) of `runs` compared with
    /// themselves; each once, with no comparisons where there are none.
    pub async fn against_itself(&self, runs: &[RunRow]) -> Result<Vec<AgainstItself>> {
        selfcheck::against_itself(&self.judge, runs).await
    }

    /// How each case of `compared` scales with its number of threads; what has no axis `threads` is
    /// in none. [`Compared::sql_for_scaling`] gives the same numbers.
    pub async fn scaling_cases(&self, compared: &Compared) -> Result<Vec<ScalingCase>> {
        scaling::cases(&self.judge, &compared.runs.iter().collect::<Vec<_>>()).await
    }

    /// Every build of `compared` that has units, by job, benchmark, config, side and round.
    /// [`MeasuredBuild::sql`] gives the same numbers.
    pub async fn builds(&self, compared: &Compared) -> Result<Vec<MeasuredBuild>> {
        builds::read(&self.judge, &compared.runs.iter().collect::<Vec<_>>(), None).await
    }

    /// What pipelining is worth to each case of `compared`, of each job by itself, with a typical
    /// build each way. [`Pipelining::sql`] gives the same numbers.
    pub async fn pipelining(&self, compared: &Compared) -> Result<Vec<Pipelining>> {
        Ok(builds::pipelining(self.builds(compared).await?, self.judge.policy.confidence))
    }

    /// The columns of one of the tables, or of what a table function or an aggregate gives; `None`
    /// for a name that is none of these.
    pub async fn columns(&self, name: &str) -> Option<Vec<Column>> {
        let described = DESCRIBED.iter().find(|d| d.name == name)?;
        let fields = match described.kind {
            Kind::Table | Kind::View => self.context.table_provider(name).await.ok()?.schema(),
            Kind::TableFunction => {
                let like = if name == "compare" { "comparisons" } else { "scaling" };
                self.context.table_provider(like).await.ok()?.schema()
            }
            Kind::Function | Kind::Aggregate => Arc::new(Schema::new(functions::fields_of(name)?)),
        };
        let column = |field: &Arc<Field>| Column {
            name: field.name().clone(),
            kind: described::kind(field.data_type()),
        };
        Some(fields.fields().iter().map(column).collect())
    }

    /// Everything that can be named in a query, but for keywords.
    pub async fn names(&self) -> Names {
        let mut names = Names::default();
        for table in DESCRIBED.iter().filter(|d| d.kind.has_rows()) {
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

    /// Those of `jobs` that ran on `host`.
    pub(crate) fn on_host<'a>(&self, jobs: &'a [JobId], host: &str) -> Vec<&'a JobId> {
        let runs = &self.judge.snapshot.runs;
        let there: BTreeSet<&JobId> =
            runs.iter().filter(|run| run.run.host == host).map(|run| &run.run.job).collect();
        jobs.iter().filter(|job| there.contains(job)).collect()
    }

    /// The newest median wall time of each (benchmark, config) of `suite` on `host`, in ns.
    pub async fn latest_walls(
        &self,
        suite: &str,
        host: &str,
    ) -> Result<BTreeMap<(String, String), f64>> {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let sql = format!(
            "SELECT benchmark, config, last_value(median ORDER BY finished) AS median FROM history
             WHERE metric = 'wall' AND suite = {} AND host = {} GROUP BY benchmark, config",
            quoted(suite),
            quoted(host)
        );
        let mut walls = BTreeMap::new();
        for batch in self.sql(&sql).await? {
            let [benchmarks, configs] = [0, 1].map(|i| batch.column(i).as_string_view());
            let medians = batch.column(2).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let key = (benchmarks.value(row).to_string(), configs.value(row).to_string());
                walls.insert(key, medians.value(row));
            }
        }
        Ok(walls)
    }

    /// Seconds by phase of the newest run of `suite` on `host`.
    pub fn latest_phases(&self, suite: &str, host: &str) -> Option<&BTreeMap<String, f64>> {
        let runs = self.judge.snapshot.runs.iter().map(|run| &run.run);
        let there = runs.filter(|run| run.suite == suite && run.host == host);
        there.max_by_key(|run| run.finished_us).map(|run| &run.phases_s)
    }

    /// Files that were set aside so far.
    pub fn problems(&self) -> Vec<Problem> {
        self.judge.snapshot.store.problems()
    }
}

/// Whether a statement can only ask. What it asks is checked again on the plan.
fn only_asks(statement: &Statement) -> bool {
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
        Statement::Explain(explain) => only_asks(&explain.statement),
        _ => false,
    }
}
