//! Why a conclusion is what it is, a sentence for each reason.

use std::collections::BTreeSet;

use dyno_model::verdict::{Concluded, ConclusionReason, Standing};

use super::{capitalised, first_names, plural};

/// The reasons of a conclusion, a sentence each; the verdicts of one architecture in one. Where nothing
/// `is_measured`, nothing is said of what gates.
/// `failing` names what has a standing, and `case_name` is the name that the report has for a case.
pub(crate) fn reasons(
    concluded: &Concluded,
    is_measured: bool,
    failing: &dyn Fn(Standing) -> String,
    case_name: &dyn Fn(&str) -> String,
) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    let mut last_architecture: Option<&Option<String>> = None;
    let differing = Differing::of_concluded(concluded);
    for because in &concluded.reasons {
        match because {
            because if differing.is_folded(because) => {}
            // The numbers of cases and series say that already.
            ConclusionReason::Verdicts { architecture: None, .. } => {}
            // The sentence says so, and why.
            ConclusionReason::NothingDecides if !is_measured => {}
            ConclusionReason::Verdicts { verdict, series, deciding: of, architecture } => {
                let verdict = verdict.to_lowercase();
                match sentences.last_mut().filter(|_| last_architecture == Some(architecture)) {
                    Some(sentence) => sentence.push_str(&format!(", {series} {verdict}")),
                    None => {
                        let architecture_text = architecture.as_ref().map(|a| format!(" on {a}"));
                        let architecture_text = architecture_text.unwrap_or_default();
                        sentences.push(format!(
                            "{} that gate{architecture_text}: {series} {verdict}",
                            plural(*of, "series")
                        ));
                    }
                }
                last_architecture = Some(architecture);
            }
            other => {
                let text = match other {
                    ConclusionReason::OneSideWorks { standing, .. } => failing(*standing),
                    other => with_case_names(other, case_name).to_string(),
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

/// The reason with the names that the report has for its cases.
fn with_case_names(
    because: &ConclusionReason,
    case_name: &dyn Fn(&str) -> String,
) -> ConclusionReason {
    let mut because = because.clone();
    let rename_all = |names: &mut BTreeSet<String>| {
        *names = names.iter().map(|name| case_name(name)).collect();
    };
    match &mut because {
        ConclusionReason::HostsDisagree { case, .. }
        | ConclusionReason::ArchitecturesDisagree { case, .. }
        | ConclusionReason::MetricsConflict { case, .. }
        | ConclusionReason::MetricsDisagree { case, .. } => *case = case_name(case),
        ConclusionReason::MetricMissing { cases, .. } => rename_all(cases),
        ConclusionReason::NoCommonCase { baseline, candidate } => {
            rename_all(baseline);
            rename_all(candidate);
        }
        _ => {}
    }
    because
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
