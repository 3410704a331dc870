//! `policies/<name>.toml`: thresholds and error rates, in one place and with a name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reader::{one_of, read, suggest};
use crate::metric;
use crate::mistake::Mistakes;

/// How many tests at once are kept honest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Procedure {
    /// Benjamini & Hochberg 1995: false-discovery rate under independence or positive dependence.
    BenjaminiHochberg,
    /// Benjamini & Yekutieli 2001: under any dependence; for what blocks a merge.
    BenjaminiYekutieli,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricPolicy {
    /// Smallest effect of interest δ, as a fraction (0.01 is one per cent).
    pub smallest_effect: f64,
    /// Whether this metric's verdicts count towards the overall conclusion; the others are shown.
    pub decides: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub name: String,
    /// False-discovery rate over all series of a comparison.
    pub q: f64,
    /// Confidence of the intervals shown and of the equivalence test.
    pub confidence: f64,
    pub procedure: Procedure,
    /// By metric name; a metric that is not named is shown with `default_effect` and does not decide.
    pub metrics: BTreeMap<String, MetricPolicy>,
    /// δ of a metric that is not named.
    pub default_effect: f64,
}

impl Policy {
    /// What holds for the metric called `name`.
    pub fn metric(&self, name: &str) -> MetricPolicy {
        self.metrics
            .get(name)
            .cloned()
            .unwrap_or(MetricPolicy { smallest_effect: self.default_effect, decides: false })
    }
}

/// Reads `policies/<name>.toml`.
pub fn parse(name: &str, file: &str, text: &str) -> Result<Policy, Mistakes> {
    read(file, text, |table| {
        let q = table.optional_number("q", 1e-6..=0.5).unwrap_or(0.05);
        let confidence = table.optional_number("confidence", 0.5..=0.9999).unwrap_or(0.95);
        let default_effect = table.optional_number("default_effect", 0.0..=1.0).unwrap_or(0.01);
        let procedure = table
            .optional_choice(
                "procedure",
                &[
                    ("benjamini-hochberg", Procedure::BenjaminiHochberg),
                    ("benjamini-yekutieli", Procedure::BenjaminiYekutieli),
                ],
            )
            .unwrap_or(Procedure::BenjaminiHochberg);
        let metrics = table.required_table("metric", |table| {
            Some(table.named_tables(|name, table| {
                let smallest_effect =
                    table.optional_number("smallest_effect", 0.0..=1.0).unwrap_or(default_effect);
                let decides = table.optional_bool("decides").unwrap_or(false);
                if metric::find(&name.value).is_none() {
                    table.note(
                        name.span.clone(),
                        format!("there is no metric `{}`", name.value),
                        one_of(&metric::names()),
                        suggest(&name.value, metric::names().into_iter()),
                    );
                }
                Some((name.value.clone(), MetricPolicy { smallest_effect, decides }))
            }))
        })?;
        let metrics: BTreeMap<_, _> = metrics.into_iter().collect();
        if !metrics.values().any(|metric| metric.decides) && !table.is_broken() {
            table.note(
                table.span(),
                "no metric decides",
                "`decides = true` under at least one [metric.…]",
                None,
            );
        }
        Some(Policy { name: name.to_string(), q, confidence, procedure, metrics, default_effect })
    })
}
