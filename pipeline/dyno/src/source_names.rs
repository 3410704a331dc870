//! Names of commits as the sources of suites have them today, for a comparison that the store answers.

use std::path::Path;

use dyno_build::catalog::Catalog;
use dyno_build::source;
use dyno_model::catalog::suite::Source;
use dyno_model::commit_name::{CommitName, Meaning};
use dyno_model::id::CommitId;
use dyno_model::text::plural;
use dyno_query::{Filter, NamesFrom, PairComparison, Session};

/// The sources of the suites of a catalog.
pub struct Sources<'a> {
    pub catalog: &'a Catalog,
    pub cache: &'a Path,
}

impl Sources<'_> {
    /// The two names, each with what it means in the source of every suite that the comparison can be
    /// of. What is not in reach, or does not know a name, leaves it to the store.
    pub async fn names(
        &self,
        names: [&str; 2],
        session: &Session,
        filter: &Filter,
    ) -> [CommitName; 2] {
        let mut names = names.map(CommitName::from);
        let mut suites = session.suites();
        suites.retain(|suite, _| filter.suite.as_deref().is_none_or(|wanted| wanted == *suite));
        let is_one = suites.len() == 1;
        let images = self.catalog.images();
        for (suite, known) in suites {
            let Some((definition, folder)) = self.catalog.definition_of_suite(suite) else {
                continue;
            };
            let source = definition.source;
            let is_remote = source::is_remote(&source, &folder);
            let is_compiler = matches!(source, Source::Compiler(_));
            for name in &mut names {
                // Of many suites an address is asked only for a name that may have moved there.
                let is_asked = !is_remote || name.is_id() || is_one;
                let is_image = is_compiler && images.contains(&name.name);
                if is_image || !(is_asked || known.contains(name.name.as_str())) {
                    continue;
                }
                let meaning = source::meaning(&source, &folder, &name.name, self.cache).await;
                name.meanings.extend(meaning.map(|meaning| (suite.to_string(), meaning)));
            }
        }
        names
    }

    /// The name by which `commit` of `suite` was asked for just now.
    pub async fn name_of(&self, name: &str, suite: &str, commit: &CommitId) -> CommitName {
        let is_id = CommitName::from(name).is_id();
        let definition = self.catalog.definition_of_suite(suite).filter(|_| is_id);
        let subject = match definition {
            Some((suite, folder)) => {
                source::meaning(&suite.source, &folder, commit.hex(), self.cache).await
            }
            None => None,
        };
        let subject = subject.and_then(|meaning| meaning.subject);
        CommitName::with_meaning(name, suite, Meaning { commit: commit.clone(), subject })
    }
}

/// What a person should know of names that could mean several things; `None` where they mean one.
pub fn notice(compared: &PairComparison) -> Option<String> {
    let PairComparison { baseline, candidate, suite, other_pairs, names_from, .. } = compared;
    let pair = format!("{} {}", baseline.short(), candidate.short());
    let more = if other_pairs.len() > 1 { ", and others: dyno store list" } else { "" };
    let pairs = plural(other_pairs.len() + 1, "pair");
    match (names_from, other_pairs.first()) {
        (NamesFrom::StoreInstead, _) => Some(format!(
            "the store has no comparison of what these names mean in the source of {suite} today; \
             this is the newest that was measured under them, {pair}"
        )),
        (_, None) => None,
        (NamesFrom::Source, Some(other)) => Some(format!(
            "these names stand for {pairs} of {suite}; this is what they mean in its source today, \
             {pair}. Measured under them too: {other}{more}"
        )),
        (NamesFrom::Store, Some(other)) => Some(format!(
            "these names stand for {pairs} of {suite}; this is the newest, {pair}. Before it: \
             {other}{more}"
        )),
    }
}

/// What a person should know who compares a commit with itself.
pub fn same_commit(compared: &PairComparison) -> Option<String> {
    let PairComparison { baseline, candidate, suite, .. } = compared;
    (baseline == candidate).then(|| {
        format!(
            "both sides are the same commit, {}; whether this host raises false alarms is asked by \
             `dyno selfcheck {suite} {}`",
            baseline.short(),
            compared.labels[0].word
        )
    })
}
