//! Why one series has its verdict: every round's pair, where its noise comes from, each step of the
//! test, the rule of the policy that holds, and the SQL that gives the numbers.
//!
//! Everything is taken from what was judged, or computed again from the samples by the model's own
//! functions; nothing is decided here. [`Explanation`] is the answer as data, and is itself an
//! output ([`json`]); [`text`] lays it out for a terminal.

use std::collections::BTreeMap;

use dyno_model::catalog::policy::{Decides, Exception, Gate, Policy};
use dyno_model::catalog::suite::Config;
use dyno_model::id::JobId;
use dyno_model::metric::{self, MetricUnit};
use dyno_model::record::{Sample, Side};
use dyno_model::stats::{self, Noise, Variance};
use dyno_model::verdict::{Comparison, Judged, PParts, SeriesKey};
use serde::Serialize;

use crate::number;
use crate::view::{Row, VERSION, View};

mod find;
mod left_out;
mod text;

pub use find::{UnclearSeries, find};
pub use text::text;

/// The facts that an explanation is made from.
pub struct Input<'a> {
    pub view: &'a View,
    /// The row to explain, of `view`: see [`find`].
    pub row: &'a Row,
    /// All that was compared, for the family and the other metrics of the case.
    pub judged: &'a [Judged],
    pub policy: &'a Policy,
    /// The samples of the series, in the order in which they were taken.
    pub samples: &'a [(JobId, Sample)],
    /// The number of past runs that lend their noise, and their variance before the policy caps it.
    pub past: Option<(u32, Variance)>,
    /// Each question, and the SQL that answers it.
    pub queries: &'a [(&'static str, String)],
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    pub version: u32,
    pub title: String,
    /// The series as its report shows it: verdict, effect, interval, q and why.
    pub row: Row,
    /// Every round, oldest job first.
    pub rounds: Vec<Pair>,
    /// `None` for a metric that is counted, or where the rounds allow no estimate.
    pub noise: Option<NoiseView>,
    pub estimate: Option<EstimateView>,
    pub family: Family,
    pub rule: RuleView,
    pub queries: Vec<Query>,
}

/// Both sides of one round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    pub job: String,
    pub round: u32,
    /// The side that ran first.
    pub first: &'static str,
    /// The value that counts, or else one that was disturbed; with its unit in the text.
    pub baseline: Option<i64>,
    pub candidate: Option<i64>,
    pub baseline_text: String,
    pub candidate_text: String,
    /// d = ln(candidate ÷ baseline); `None` where the round does not count.
    pub d: Option<f64>,
    /// The disturbances of samples (`candidate: steal`), or the reason why there is no d.
    pub notes: Vec<String>,
    /// The number of its samples that were disturbed, and so are left out.
    pub disturbed: u32,
}

/// The steps from the variance of the rounds to the one that is used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NoiseView {
    /// s², n − 1.
    pub run: Variance,
    /// Whether s² is what rounding to whole units makes, because the rounds vary by less.
    pub run_is_rounding: bool,
    /// The number of past runs, and all of their degrees of freedom.
    pub past_runs: u32,
    pub past_df: f64,
    /// s_h², ν_h: what of them is lent.
    pub history: Option<Variance>,
    /// The policy's `history`: up to how many degrees of freedom past runs fill those of the run.
    pub history_fills_to: f64,
    /// s_p², ν: run and history together.
    pub pooled: Variance,
    /// s₀², d₀: the prior fitted to all series of the metric on this host.
    #[serde(rename = "crowd")]
    pub peer_prior: Option<Variance>,
    /// The variance that `pooled` and the prior come to, before the floor.
    pub moderated: f64,
    /// No smaller variance is used: `s²/2` with history, `s²` without.
    pub floor: f64,
    pub floor_is: &'static str,
    /// Whether the floor is what is used.
    pub floor_holds: bool,
    /// s̃² and its degrees of freedom.
    pub used: Variance,
}

/// The steps from the mean to p and q. Effects are fractions, all else is on the log scale.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EstimateView {
    pub rounds: u32,
    /// d̄.
    pub mean: f64,
    /// s̃/√n.
    pub standard_error: f64,
    pub confidence: f64,
    /// The quantile of Student's t at the confidence, with the degrees of freedom of what is used.
    pub quantile: f64,
    pub half_width: f64,
    pub delta: f64,
    pub p: f64,
    /// What p is made of; `None` for a metric that is counted once.
    pub p_parts: Option<PParts>,
    pub q: Option<f64>,
    /// p of flipping signs, exactly: a cross-check that assumes no distribution. `None` for more
    /// than 15 rounds and for what is counted.
    pub sign_flip_p: Option<f64>,
    /// The smallest effect that these rounds would find four times in five, before q is adjusted.
    pub detectable: Option<f64>,
    pub rounds_needed: Option<u32>,
}

/// The series that q is adjusted over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Family {
    /// Whether its series can change the conclusion.
    pub decides: bool,
    /// Counted metrics are in none.
    pub series: usize,
    pub is_in: bool,
    pub procedure: &'static str,
}

/// The rule of the policy that holds for the series, and the parts of the file it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleView {
    pub policy: String,
    pub q: f64,
    pub smallest_effect: f64,
    pub smallest_effect_from: String,
    pub decides: bool,
    pub decides_because: String,
    pub tier: Gate,
    pub tier_from: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Query {
    pub what: &'static str,
    pub sql: String,
}

/// The explanation as JSON, for programs. Ends with a newline.
pub fn json(explained: &Explanation) -> String {
    let mut text = serde_json::to_string_pretty(explained).expect("an explanation is plain data");
    text.push('\n');
    text
}

impl Explanation {
    /// `None` where `row` is of no series of `judged`.
    pub fn new(input: &Input<'_>) -> Option<Self> {
        let key = input.row.key();
        let judged = input.judged.iter().find(|j| j.comparison.key == key)?;
        let comparison = &judged.comparison;
        let rounds = pairs(input.samples, &comparison.key.metric);
        let d: Vec<f64> = rounds.iter().filter_map(|pair| pair.d).collect();
        Some(Self {
            version: VERSION,
            title: input.view.title.clone(),
            row: input.row.clone(),
            noise: comparison.noise.map(|noise| noise_view(noise, &d, input)),
            estimate: estimate(comparison, &d, input),
            family: family(comparison, input),
            rule: rule(comparison, input),
            rounds,
            queries: input
                .queries
                .iter()
                .map(|(what, sql)| Query { what, sql: sql.clone() })
                .collect(),
        })
    }
}

/// The note of a round whose values have no ratio.
const ONE_ZERO: &str = "a value is zero on one side only";

/// Samples by round: of each side the last that nothing disturbed, as the model takes them.
fn pairs(samples: &[(JobId, Sample)], metric: &str) -> Vec<Pair> {
    let unit = metric::find(metric).map_or(MetricUnit::Count, |m| m.unit);
    let mut order: Vec<(&JobId, u32)> = Vec::new();
    let mut rounds: BTreeMap<(&JobId, u32), Vec<&Sample>> = BTreeMap::new();
    for (job, sample) in samples {
        let round = rounds.entry((job, sample.round)).or_default();
        if round.is_empty() {
            order.push((job, sample.round));
        }
        round.push(sample);
    }
    let mut jobs: Vec<&JobId> = order.iter().map(|(job, _)| *job).collect();
    jobs.dedup();
    // Jobs as they come, rounds by number: cases of one round run in any order.
    order.sort_by_key(|(job, round)| {
        (jobs.iter().position(|number_with_interval| number_with_interval == job), *round)
    });
    order.into_iter().map(|key| pair(key, &rounds[&key], unit)).collect()
}

fn pair((job, round): (&JobId, u32), samples: &[&Sample], unit: MetricUnit) -> Pair {
    let last_value = |side: Side, is_clean: bool| {
        samples.iter().rfind(|s| s.side == side && s.taint.is_empty() == is_clean).map(|s| s.value)
    };
    let [clean_b, clean_c] = Side::BOTH.map(|side| last_value(side, true));
    let [baseline, candidate] =
        Side::BOTH.map(|side| last_value(side, true).or(last_value(side, false)));
    let mut notes = taints(samples);
    let d = clean_b.zip(clean_c).and_then(|(b, c)| stats::log_ratio(b, c).ok());
    if let (Some(_), Some(_), None) = (clean_b, clean_c, d) {
        notes.push(ONE_ZERO.to_string());
    }
    for (side, value) in Side::BOTH.into_iter().zip([baseline, candidate]) {
        if value.is_none() {
            notes.push(format!("no sample of the {}", side.name()));
        }
    }
    let quantity = |value: Option<i64>| {
        value.map_or("–".to_string(), |v| number::quantity(v as f64, unit, None))
    };
    Pair {
        job: job.short().to_string(),
        round,
        first: samples.iter().min_by_key(|s| s.sequence).map_or("", |s| s.side.name()),
        baseline,
        candidate,
        baseline_text: quantity(baseline),
        candidate_text: quantity(candidate),
        d,
        notes,
        disturbed: samples.iter().filter(|s| !s.taint.is_empty()).count() as u32,
    }
}

/// The disturbances of samples, each with how often it came: `candidate: contention (3 times)`.
fn taints(samples: &[&Sample]) -> Vec<String> {
    let mut taints: Vec<(String, usize)> = Vec::new();
    for sample in samples.iter().filter(|s| !s.taint.is_empty()) {
        let taint = format!("{}: {}", sample.side.name(), sample.taint);
        match taints.iter_mut().find(|(known, _)| *known == taint) {
            Some((_, times)) => *times += 1,
            None => taints.push((taint, 1)),
        }
    }
    let text = |(taint, times): (String, usize)| match times {
        1 => taint,
        times => format!("{taint} ({times} times)"),
    };
    taints.into_iter().map(text).collect()
}

fn noise_view(noise: Noise, d: &[f64], input: &Input<'_>) -> NoiseView {
    let own_variance = stats::moments(d).and_then(|m| m.variance);
    NoiseView {
        run: noise.run,
        // More than the last digits of a sum apart.
        run_is_rounding: own_variance.is_some_and(|own| own < noise.run.value * (1.0 - 1e-9)),
        past_runs: input.past.map_or(0, |(runs, _)| runs),
        past_df: input.past.map_or(0.0, |(_, variance)| variance.df),
        history: noise.history,
        history_fills_to: input.policy.history,
        pooled: noise.pooled,
        peer_prior: noise.peer_prior,
        moderated: noise.moderated,
        floor: noise.floor,
        floor_is: if noise.history.is_some() { "s²/2" } else { "s²" },
        floor_holds: noise.moderated < noise.floor,
        used: noise.used,
    }
}

fn estimate(comparison: &Comparison, d: &[f64], input: &Input<'_>) -> Option<EstimateView> {
    let estimate = comparison.estimate?;
    let confidence = input.policy.confidence;
    let used = comparison.noise.map(|noise| noise.used);
    let is_counted = metric::is_deterministic(&comparison.key.metric);
    let standard_error =
        used.map_or(0.0, |used| (used.value / f64::from(estimate.rounds.max(1))).sqrt());
    Some(EstimateView {
        rounds: estimate.rounds,
        mean: estimate.mean,
        standard_error,
        confidence,
        quantile: used.map_or(0.0, |used| stats::t_quantile(confidence, used.df)),
        half_width: estimate.half_width,
        delta: comparison.delta,
        p: estimate.p,
        p_parts: comparison.p_parts,
        q: comparison.q,
        sign_flip_p: stats::sign_flip(d, comparison.delta).filter(|_| !is_counted),
        detectable: comparison.detectable(input.policy),
        rounds_needed: input.row.rounds_needed,
    })
}

fn family(comparison: &Comparison, input: &Input<'_>) -> Family {
    let concludes = comparison.can_conclude();
    let is_in = |c: &Comparison| c.is_tested() && c.can_conclude() == concludes;
    Family {
        decides: concludes,
        series: input.judged.iter().filter(|j| is_in(&j.comparison)).count(),
        is_in: is_in(comparison),
        procedure: crate::words::procedure(input.policy),
    }
}

fn rule(comparison: &Comparison, input: &Input<'_>) -> RuleView {
    let SeriesKey { benchmark, config, metric, host } = &comparison.key;
    let config = Config::read(config);
    let rule = input.policy.rule(benchmark, &config, host, metric);
    let sources = input.policy.sources(benchmark, &config, host, metric);
    let source = |exception: Option<&Exception>| match (exception, sources.metric) {
        (Some(e), _) => format!("[[metric.{metric}.where]] {}", e.place),
        (None, Some(_)) => format!("[metric.{metric}]"),
        (None, None) => "default_effect: the policy does not name the metric".to_string(),
    };
    let decides_from = source(sources.decides);
    let decides_because = match (rule.tier, rule.decides, sources.metric) {
        (Gate::Informs, ..) => "the tier is inform".to_string(),
        _ if comparison.is_flaky => "its case is flaky: it failed where it also worked".to_string(),
        (_, _, None) => "the policy does not name the metric".to_string(),
        (_, Decides::Yes, _) if !comparison.decides => {
            let who = deciding_beside(comparison, input.judged).join(", ");
            format!("{decides_from}, but one side lacks it: {who} gates instead")
        }
        (_, Decides::Yes | Decides::No, _) => decides_from,
        (_, Decides::Otherwise, _) if comparison.decides => format!(
            "{decides_from}: otherwise, and nothing of the case was measured on this host, on both \
             sides, that gates anyway"
        ),
        (_, Decides::Otherwise, _) => {
            let others: Vec<&str> = deciding_beside(comparison, input.judged);
            let who = if others.is_empty() { "another metric" } else { &others.join(", ") };
            let agrees = if comparison.is_companion { "; it must agree" } else { "" };
            format!("{decides_from}: otherwise, and {who} gates for the case on this host{agrees}")
        }
    };
    RuleView {
        policy: input.policy.name.clone(),
        q: input.policy.q,
        smallest_effect: rule.smallest_effect,
        smallest_effect_from: source(sources.smallest_effect),
        decides: comparison.decides,
        decides_because,
        tier: rule.tier,
        tier_from: sources.inform.map(|place| format!("[[inform]] {place}")),
    }
}

/// Metrics that decide for the same case on the same host.
fn deciding_beside<'a>(comparison: &Comparison, judged: &'a [Judged]) -> Vec<&'a str> {
    let is_of_same_case = |key: &SeriesKey| {
        let compared = &comparison.key;
        (&compared.benchmark, &compared.config, &compared.host)
            == (&key.benchmark, &key.config, &key.host)
    };
    judged
        .iter()
        .map(|j| &j.comparison)
        .filter(|c| c.decides && is_of_same_case(&c.key))
        .map(|c| c.key.metric.as_str())
        .collect()
}
