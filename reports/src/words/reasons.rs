//! Why a conclusion is what it is, a sentence for each reason.

use std::collections::BTreeSet;

use dyno_model::verdict::{Concluded, ConclusionReason, Standing};

use super::{capitalised, first_names, plural};

/// The reasons of a conclusion, a sentence each; the verdicts of one architecture in one.
/// `failing` names what has a standing.
pub(crate) fn reasons(concluded: &Concluded, failing: &dyn Fn(Standing) -> String) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    let mut last_architecture: Option<&Option<String>> = None;
    let differing = Differing::of_concluded(concluded);
    for because in &concluded.reasons {
        match because {
            because if differing.is_folded(because) => {}
            // The sentence over everything says that already.
            ConclusionReason::Verdicts { series, deciding, architecture: None, .. }
                if series == deciding => {}
            ConclusionReason::Verdicts { verdict, series, deciding: of, architecture } => {
                let verdict = verdict.to_lowercase();
                match sentences.last_mut().filter(|_| last_architecture == Some(architecture)) {
                    Some(sentence) => sentence.push_str(&format!(", {series} {verdict}")),
                    None => {
                        let architecture_text = architecture.as_ref().map(|a| format!(" on {a}"));
                        let architecture_text = architecture_text.unwrap_or_default();
                        sentences.push(format!(
                            "{of} deciding series{architecture_text}: {series} {verdict}"
                        ));
                    }
                }
                last_architecture = Some(architecture);
            }
            other => {
                let text = match other {
                    ConclusionReason::OneSideWorks { standing, .. } => failing(*standing),
                    other => other.to_string(),
                };
                sentences.push(capitalised(&text));
                last_architecture = None;
            }
        }
    }
    sentences.extend(differing.sentences());
    sentences.iter_mut().for_each(|sentence| sentence.push('.'));
    sentences
}

/// Differences between the configs of a benchmark, and between the metrics of a case: where a suite
/// has many of them they are one sentence each, and the rows say the rest.
#[derive(Default)]
struct Differing {
    /// Benchmarks whose configs differ.
    configs: BTreeSet<String>,
    /// Cases whose metrics differ.
    metrics: BTreeSet<String>,
}

impl Differing {
    const LISTED_MAX: usize = 3;

    fn of_concluded(concluded: &Concluded) -> Self {
        let mut differing = Self::default();
        for because in &concluded.reasons {
            match because {
                ConclusionReason::ConfigsDisagree { benchmark, .. } => {
                    differing.configs.insert(benchmark.clone())
                }
                ConclusionReason::MetricsDisagree { case, .. } => {
                    differing.metrics.insert(case.clone())
                }
                _ => false,
            };
        }
        differing
    }

    /// Whether the reason is part of one of [`Differing::sentences`].
    fn is_folded(&self, because: &ConclusionReason) -> bool {
        match because {
            ConclusionReason::ConfigsDisagree { .. } => self.configs.len() > Self::LISTED_MAX,
            ConclusionReason::MetricsDisagree { .. } => self.metrics.len() > Self::LISTED_MAX,
            _ => false,
        }
    }

    fn sentences(&self) -> Vec<String> {
        let sentence = |beginning: &str, names: &BTreeSet<String>, noun: &str| {
            let number = names.len();
            // A case begins with its benchmark.
            let benchmarks: BTreeSet<&str> =
                names.iter().map(|name| name.split(" [").next().unwrap_or(name)).collect();
            let benchmarks: Vec<String> = benchmarks.into_iter().map(str::to_string).collect();
            let names = || first_names(&benchmarks);
            (number > Self::LISTED_MAX)
                .then(|| format!("{beginning} {} ({})", plural(number, noun), names()))
        };
        let configs = "Configs differ, worse in one and better in another, of";
        let configs = sentence(configs, &self.configs, "benchmark");
        let metrics = sentence("Metrics differ about", &self.metrics, "case");
        configs.into_iter().chain(metrics).collect()
    }
}
