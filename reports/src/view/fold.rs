//! A suite with axes, folded: what the deciding series of each axis value come to, then those of
//! each benchmark with that value, then the cases themselves.

use std::collections::{BTreeMap, BTreeSet};

use dyno_model::catalog::policy::Policy;
use dyno_model::catalog::suite::Config;
use dyno_model::metric;
use dyno_model::verdict::{Judged, Verdict};
use serde::Serialize;

use super::{Effect, Input, Tally, effect, rows};
use crate::{means, number};

/// Configs and benchmarks are shown that many; more than that is no suite's.
const AXES_MAX: usize = 16;

/// One axis with two values or more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AxisView {
    pub axis: String,
    pub values: Vec<AxisValue>,
}

/// The deciding series with one value of an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AxisValue {
    /// `profile=check`
    pub name: String,
    pub folds: Vec<Fold>,
    pub benchmarks: Vec<BenchmarkFold>,
    pub sql: String,
}

/// Those of one benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchmarkFold {
    pub benchmark: String,
    pub folds: Vec<Fold>,
    /// [`super::Row::id`] of each.
    pub rows: Vec<String>,
}

/// What series of one metric on one host come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fold {
    pub metric: String,
    pub host: String,
    pub cases: usize,
    /// The geometric mean of those that have an effect; `None` where none has.
    pub mean: Option<Effect>,
    /// Smallest to largest effect.
    pub range: Option<Range>,
    pub tally: Tally,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Range {
    pub text: String,
    pub low: f64,
    pub high: f64,
}

/// The axes of the deciding series; `judged` are in the order of their rows.
pub(super) fn axes(judged: &[&Judged], input: &Input<'_>) -> Vec<AxisView> {
    let deciding = judged.iter().enumerate().filter(|(_, j)| j.comparison.decides);
    let mut axes: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for (index, j) in deciding {
        for (axis, value) in Config::read(&j.comparison.key.config).0 {
            axes.entry(axis).or_default().entry(value).or_default().push(index);
        }
    }
    let view = |(axis, values): (String, BTreeMap<String, Vec<usize>>)| {
        let mut values: Vec<(String, Vec<usize>)> = values.into_iter().collect();
        values.sort_by(|(a, _), (b, _)| by_number(a, b));
        let value = |(value, of): (String, Vec<usize>)| AxisValue {
            name: format!("{axis}={value}"),
            folds: folds(judged, &of, input.policy),
            benchmarks: benchmarks(judged, &of, input.policy),
            sql: (input.fold_sql)(&axis, &value),
        };
        AxisView { values: values.into_iter().map(value).collect(), axis }
    };
    axes.into_iter().filter(|(_, values)| values.len() > 1).take(AXES_MAX).map(view).collect()
}

/// Numbers by size, before names.
fn by_number(a: &str, b: &str) -> std::cmp::Ordering {
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    number(a).cmp(&number(b)).then_with(|| a.cmp(b))
}

fn benchmarks(judged: &[&Judged], of: &[usize], policy: &Policy) -> Vec<BenchmarkFold> {
    let mut benchmarks: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &index in of {
        benchmarks.entry(&judged[index].comparison.key.benchmark).or_default().push(index);
    }
    let view = |(benchmark, of): (&str, Vec<usize>)| BenchmarkFold {
        benchmark: benchmark.to_string(),
        folds: folds(judged, &of, policy),
        rows: of.into_iter().map(rows::row_id).collect(),
    };
    benchmarks.into_iter().map(view).collect()
}

/// By metric, in the order of the model's, and host.
fn folds(judged: &[&Judged], of: &[usize], policy: &Policy) -> Vec<Fold> {
    let place = |name: &str| metric::METRICS.iter().position(|m| m.name == name);
    let mut groups: BTreeMap<_, Vec<&Judged>> = BTreeMap::new();
    for &index in of {
        let key = &judged[index].comparison.key;
        let group = (place(&key.metric), key.metric.as_str(), key.host.as_str());
        groups.entry(group).or_default().push(judged[index]);
    }
    let fold = |((_, metric, host), all): ((_, &str, &str), Vec<&Judged>)| Fold {
        metric: metric.to_string(),
        host: host.to_string(),
        cases: all.iter().map(|j| &j.comparison.key).collect::<BTreeSet<_>>().len(),
        mean: means::mean(&all, policy.confidence).map(|(_, mean)| mean),
        range: range(&all),
        tally: tally(&all),
    };
    groups.into_iter().map(fold).collect()
}

fn range(all: &[&Judged]) -> Option<Range> {
    let effects = all.iter().filter_map(|j| {
        let (low, high) = j.comparison.interval()?;
        Some(effect(j.comparison.effect()?, low, high))
    });
    let mut effects: Vec<Effect> = effects.filter(|e| e.fraction.is_finite()).collect();
    effects.sort_by(|a, b| a.fraction.total_cmp(&b.fraction));
    let (least, most) = (effects.first()?, effects.last()?);
    let text = number::range(&least.text, &most.text);
    Some(Range { text, low: least.fraction, high: most.fraction })
}

fn tally(all: &[&Judged]) -> Tally {
    let mut tally = Tally { series: all.len(), ..Tally::default() };
    for j in all {
        *match j.verdict {
            Verdict::Regressed => &mut tally.regressed,
            Verdict::Improved => &mut tally.improved,
            Verdict::Unchanged => &mut tally.unchanged,
            Verdict::Inconclusive(_) => &mut tally.inconclusive,
        } += 1;
    }
    tally
}
