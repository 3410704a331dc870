//! The functions of SQL that compute what `dyno_model::stats` computes, so that anyone can group
//! as they like: `log_ratio` of one round, the aggregate `paired` over rounds, and the aggregate
//! `geometric_mean` over effects.
//!
//! Each hands its arguments to the model and shows what it answers; no formula stands here.
//!
//! Both aggregates keep the numbers they are given rather than sums that could be merged (Chan's
//! n, mean and squares): sorted before the model gets them, they give the same digits however the
//! rows came and on however many partitions, and the model's own functions do all arithmetic.
//! The price is 8 bytes a round, 32 a series, which the session's memory limit sees.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, RecordBatchOptions, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Schema};
use datafusion::common::{Result, ScalarValue, exec_err, not_impl_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarUDF, Signature, Volatility,
    create_udf,
};
use datafusion::prelude::SessionContext;
use dyno_model::stats::{self, Variance};
use dyno_model::verdict::ZeroTest;

use crate::sql_catalog::SQL_CATALOG;

/// Confidence of an interval where a query names none.
const CONFIDENCE: f64 = 0.95;

/// Makes the functions known to `context`.
pub(crate) fn register(context: &SessionContext) {
    context.register_udf(log_ratio());
    for estimator in [Estimator::Paired, Estimator::GeometricMean] {
        context.register_udaf(AggregateUDF::from(EstimateAggregate::new(estimator)));
    }
}

/// The columns of the struct that the aggregate called `name` gives.
pub(crate) fn fields_of(name: &str) -> Option<Fields> {
    [Estimator::Paired, Estimator::GeometricMean]
        .into_iter()
        .find(|w| w.name() == name)
        .map(Estimator::fields)
}

/// `log_ratio(baseline, candidate)`: [`stats::log_ratio_of`], NULL where that gives none.
fn log_ratio() -> ScalarUDF {
    let log_ratios = |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let columns = Columns(&arrays);
        let rows = 0..arrays[0].len();
        let d: Float64Array = rows.map(|row| columns.ratio(row)).collect();
        let all_scalar = arguments.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        Ok(match all_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&d, 0)?),
            false => ColumnarValue::Array(Arc::new(d)),
        })
    };
    let numbers = vec![DataType::Float64; 2];
    create_udf("log_ratio", numbers, DataType::Float64, Volatility::Immutable, Arc::new(log_ratios))
}

/// Arguments, all `Float64` and of one length.
struct Columns<'a>(&'a [ArrayRef]);

impl Columns<'_> {
    fn value(&self, column: usize, row: usize) -> Option<f64> {
        let array = self.0.get(column)?.as_primitive::<Float64Type>();
        arrow::array::Array::is_valid(array, row).then(|| array.value(row))
    }

    /// (baseline, candidate) as d; `None` where the model knows no ratio of the two.
    fn ratio(&self, row: usize) -> Option<f64> {
        stats::log_ratio_of(self.value(0, row)?, self.value(1, row)?).ok()
    }

    /// [`Columns::ratio`], infinite where one side alone is zero.
    fn round(&self, row: usize) -> Option<[f64; 1]> {
        Some([stats::log_ratio_or_infinite(self.value(0, row)?, self.value(1, row)?)?])
    }

    /// (effect [, variance, rounds [, df]]) as d̄, variance, rounds, df; the last three NaN where
    /// they are missing or cannot be.
    fn series(&self, row: usize) -> Option<[f64; 4]> {
        let d = Some(stats::log_effect(self.value(0, row)?)).filter(|d| d.is_finite())?;
        let spread = || {
            let (variance, rounds) = (self.value(1, row)?, self.value(2, row)?);
            let df = if self.0.len() > 3 { self.value(3, row)? } else { rounds - 1.0 };
            let is_usable = variance.is_finite() && variance >= 0.0 && rounds.is_finite();
            (is_usable && rounds >= 1.0 && df > 0.0).then_some([d, variance, rounds, df])
        };
        Some(spread().unwrap_or([d, f64::NAN, f64::NAN, f64::NAN]))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Estimator {
    /// `paired(baseline, candidate [, smallest_effect [, confidence]])`: the estimate of an effect
    /// from rounds, one row a round.
    ///
    /// A round counts if [`stats::log_ratio_of`] gives a ratio of its two sides, or if one alone is
    /// zero; the others are left out. `zeros` is the number of the latter: where there are any,
    /// nothing has an effect and p is that of the directions ([`ZeroTest`]). No round that counts:
    /// `rounds` is 0 and the rest NULL. One: its effect and no more, since there is no variance.
    /// All alike: the interval is a point and p is 0 or 1.
    Paired,
    /// `geometric_mean(effect [, variance, rounds [, df [, confidence]]])` over series, one row a
    /// series: [`stats::geometric_mean`].
    ///
    /// A series counts if its effect is a number above −1. The interval is NULL if the variance of
    /// one that counts is not known. `df` is `rounds − 1` unless given.
    GeometricMean,
}

impl Estimator {
    fn name(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::GeometricMean => "geometric_mean",
        }
    }

    fn fields(self) -> Fields {
        let (count, floats): (_, &[&str]) = match self {
            Self::Paired => ("rounds", &["effect", "low", "high", "p", "variance", "zeros"]),
            Self::GeometricMean => ("series", &["effect", "low", "high"]),
        };
        let floats = floats.iter().map(|name| Field::new(*name, DataType::Float64, true));
        std::iter::once(Field::new(count, DataType::Int64, false)).chain(floats).collect()
    }

    /// How many arguments it may have.
    fn arguments(self) -> &'static [usize] {
        match self {
            Self::Paired => &[2, 3, 4],
            Self::GeometricMean => &[1, 3, 4, 5],
        }
    }

    /// The struct it gives: a count, and as many numbers as [`Estimator::fields`] has behind that.
    fn row(self, count: usize, numbers: &[Option<f64>]) -> Result<ScalarValue> {
        let finite_scalar =
            |value: &Option<f64>| ScalarValue::Float64(value.filter(|v| v.is_finite()));
        let count = ScalarValue::Int64(Some(count as i64)).to_array()?;
        let numbers = numbers.iter().map(|value| finite_scalar(value).to_array());
        let arrays = std::iter::once(Ok(count)).chain(numbers).collect::<Result<Vec<_>>>()?;
        Ok(ScalarValue::Struct(Arc::new(StructArray::try_new(self.fields(), arrays, None)?)))
    }
}

/// The answer of `paired` for the sorted d of its rounds.
fn paired(d: &[[f64; 1]], delta: f64, confidence: f64) -> Result<ScalarValue> {
    let d = d.as_flattened();
    if let Some(zeros) = ZeroTest::of_log_ratios(d) {
        let numbers = [None, None, None, Some(zeros.p), None, Some(f64::from(zeros.zeros()))];
        return Estimator::Paired.row(d.len(), &numbers);
    }
    let moments = stats::moments(d);
    let variance = moments.and_then(|m| m.variance);
    let estimate = moments.zip(variance).map(|(m, value)| {
        let variance = Variance { value, df: f64::from(m.n) - 1.0 };
        stats::estimate(m.n, m.mean, variance, delta, confidence)
    });
    let numbers = [
        moments.map(|m| m.mean.exp_m1()),
        estimate.map(|e| (e.mean - e.half_width).exp_m1()),
        estimate.map(|e| (e.mean + e.half_width).exp_m1()),
        estimate.map(|e| e.p),
        variance,
        Some(0.0),
    ];
    Estimator::Paired.row(d.len(), &numbers)
}

/// The answer of `geometric_mean` for sorted series.
fn geometric_mean(series: &[[f64; 4]], confidence: f64) -> Result<ScalarValue> {
    let is_known = series.iter().all(|[_, variance, ..]| variance.is_finite());
    let part = |&[d, value, rounds, df]: &[f64; 4]| match is_known {
        true => (d, Variance { value, df }, rounds as u32),
        // The mean alone is shown; it does not depend on these.
        false => (d, Variance { value: 0.0, df: 1.0 }, 1),
    };
    let parts: Vec<_> = series.iter().map(part).collect();
    let mean = stats::geometric_mean(&parts, confidence);
    let interval_end =
        |sign: f64| mean.filter(|_| is_known).map(|m| (m.mean + sign * m.half_width).exp_m1());
    let numbers = [mean.map(|m| m.mean.exp_m1()), interval_end(-1.0), interval_end(1.0)];
    Estimator::GeometricMean.row(series.len(), &numbers)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct EstimateAggregate {
    estimator: Estimator,
    signature: Signature,
}

impl EstimateAggregate {
    fn new(estimator: Estimator) -> Self {
        Self { estimator, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// The value of the argument at `index`, which must be the same for all rows.
    fn constant(&self, args: &AccumulatorArgs, index: usize, name: &str) -> Result<Option<f64>> {
        let Some(expr) = args.exprs.get(index) else { return Ok(None) };
        let one_row = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &one_row)?;
        match expr.evaluate(&row) {
            Ok(ColumnarValue::Scalar(ScalarValue::Float64(Some(value)))) => Ok(Some(value)),
            _ => plan_err!("{}: {name} must be a number, the same for all rows", self.name()),
        }
    }

    fn confidence(&self, args: &AccumulatorArgs, index: usize) -> Result<f64> {
        let confidence = self.constant(args, index, "confidence")?.unwrap_or(CONFIDENCE);
        if !(confidence > 0.0 && confidence < 1.0) {
            let name = self.name();
            return plan_err!("{name}: confidence lies between 0 and 1, as 0.95; not {confidence}");
        }
        Ok(confidence)
    }
}

impl AggregateUDFImpl for EstimateAggregate {
    fn name(&self) -> &str {
        self.estimator.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(self.estimator.fields()))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let is_numeric = |kind: &DataType| kind.is_numeric() || kind.is_null();
        if !self.estimator.arguments().contains(&types.len()) || !types.iter().all(is_numeric) {
            let usage = SQL_CATALOG.iter().find(|d| d.name == self.name()).map_or("", |d| d.usage);
            return plan_err!("{} takes numbers: {usage}", self.name());
        }
        Ok(vec![DataType::Float64; types.len()])
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        self.estimator.row(0, &vec![None; self.estimator.fields().len() - 1])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return not_impl_err!("{}(DISTINCT …): equal rows count each", self.name());
        }
        match self.estimator {
            Estimator::Paired => {
                let smallest = self.constant(&args, 2, "smallest_effect")?.unwrap_or(0.0);
                if !(smallest.is_finite() && smallest >= 0.0) {
                    return plan_err!(
                        "paired: smallest_effect is 0 or more, as 0.01 for one per cent; not {smallest}"
                    );
                }
                let (delta, confidence) = (stats::log_effect(smallest), self.confidence(&args, 3)?);
                Ok(Box::new(CollectedRows {
                    rows: Vec::new(),
                    decode: |columns, row| columns.round(row),
                    answer: Box::new(move |d| paired(d, delta, confidence)),
                }))
            }
            Estimator::GeometricMean => {
                let confidence = self.confidence(&args, 4)?;
                Ok(Box::new(CollectedRows {
                    rows: Vec::new(),
                    decode: |columns, row| columns.series(row),
                    answer: Box::new(move |series| geometric_mean(series, confidence)),
                }))
            }
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let values = DataType::new_list(DataType::Float64, true);
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "kept"), values, true))])
    }
}

/// What an aggregate answers for the sorted rows it collected.
type Answer<const K: usize> = Box<dyn Fn(&[[f64; K]]) -> Result<ScalarValue> + Send + Sync>;

/// The rows of one group that count, as `K` numbers each.
struct CollectedRows<const K: usize> {
    rows: Vec<[f64; K]>,
    decode: fn(&Columns<'_>, usize) -> Option<[f64; K]>,
    answer: Answer<K>,
}

impl<const K: usize> CollectedRows<K> {
    fn counting_rows<'a>(
        &self,
        values: &'a [ArrayRef],
    ) -> impl Iterator<Item = [f64; K]> + use<'a, K> {
        let decode = self.decode;
        (0..values[0].len()).filter_map(move |row| decode(&Columns(values), row))
    }
}

impl<const K: usize> fmt::Debug for CollectedRows<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectedRows").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl<const K: usize> Accumulator for CollectedRows<K> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = self.counting_rows(values);
        self.rows.extend(rows);
        Ok(())
    }

    /// Rows leave a window in the order in which they came.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let leaving = self.counting_rows(values).count();
        self.rows.drain(..leaving);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // A copy: a window goes on from the rows in their order.
        let mut sorted = self.rows.clone();
        sorted.sort_unstable_by(|a, b| {
            let compared = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
            compared.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
        (self.answer)(&sorted)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.capacity() * size_of::<[f64; K]>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let numbers: Vec<ScalarValue> =
            self.rows.as_flattened().iter().map(|v| ScalarValue::from(*v)).collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&numbers, &DataType::Float64))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states[0].as_list_opt::<i32>() else {
            return exec_err!("a state that is no list");
        };
        for list in lists.iter().flatten() {
            let (rows, _) = list.as_primitive::<Float64Type>().values().as_chunks::<K>();
            self.rows.extend(rows);
        }
        Ok(())
    }
}
