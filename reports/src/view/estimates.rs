//! Numbers with their intervals, as text and raw.

use dyno_model::stats::scaling::Parameter;
use serde::Serialize;

use crate::number;

/// A relative change with its interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    /// `+4.2 %`
    pub text: String,
    /// `[+3.1 %, +5.3 %]`, or `exact` for a metric counted once.
    pub interval: String,
    pub fraction: f64,
    pub low: f64,
    pub high: f64,
}

impl Effect {
    pub(crate) fn new(fraction: f64, low: f64, high: f64) -> Self {
        let (text, interval) = number::effect(fraction, low, high);
        Self { text, interval, fraction, low, high }
    }

    /// The effect of a mean of logarithms with its half-width.
    pub(crate) fn from_log(mean: f64, half_width: f64) -> Self {
        Self::new(mean.exp_m1(), (mean - half_width).exp_m1(), (mean + half_width).exp_m1())
    }

    /// `+4.2 % [+3.1 %, +5.3 %]`, `+1.00 % (counted)`: as it stands in a sentence.
    pub(crate) fn in_sentence(&self) -> String {
        let is_exact = self.high <= self.low;
        let interval = if is_exact { "(counted)" } else { &self.interval };
        format!("{} {interval}", self.text)
    }

    /// The text of an effect, or a dash.
    pub(crate) fn text_or_dash(effect: &Option<Self>) -> &str {
        effect.as_ref().map_or("–", |effect| &effect.text)
    }

    /// The interval of an effect, or a dash.
    pub(crate) fn interval_or_dash(effect: &Option<Self>) -> &str {
        effect.as_ref().map_or("–", |effect| &effect.interval)
    }
}

/// A number with its interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberWithInterval {
    pub text: String,
    pub interval: String,
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
}

impl NumberWithInterval {
    /// The number as it is.
    pub(crate) fn plain(parameter: Parameter) -> Self {
        let Parameter { estimate, low, high } = parameter;
        let (text, interval) = number::number_with_interval(estimate, low, high);
        Self { text, interval, estimate, low, high }
    }

    /// A fraction, in per cent.
    pub(crate) fn percent(parameter: Parameter) -> Self {
        let Parameter { estimate, low, high } = parameter;
        let (text, interval) = number::percent_with_interval(estimate, low, high);
        Self { text, interval, estimate, low, high }
    }
}
