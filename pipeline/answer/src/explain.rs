//! `dyno compare --explain SERIES`: gathers what one verdict rests on, and has it explained.

use dyno_model::catalog::policy::Policy;
use dyno_reports::explain::{Explanation, Input, find};

use crate::Answer;
use crate::error::query_error;
use dyno_base::error::{Error, Result};
use dyno_base::event::Events;

/// Why the series that `written` names has its verdict in `answer`. Files that turn out to be bad
/// are told.
///
/// # Errors
/// Wrong input where no series, or more than one, is meant; those of the store.
pub async fn explain(
    answer: &Answer,
    policy: &Policy,
    written: &str,
    events: &Events,
) -> Result<Explanation> {
    let unclear_error = |error: dyno_reports::explain::UnclearSeries| {
        Error::input(error.to_string())
            .hint("BENCHMARK[PART OF CONFIG]/METRIC@HOST names one, or its row")
    };
    let row = find(&answer.view, written).map_err(unclear_error)?;
    let known = answer.session.problems();
    let evidence =
        answer.session.evidence(&answer.compared, &row.key()).await.map_err(query_error)?;
    for problem in answer.session.problems().iter().filter(|problem| !known.contains(problem)) {
        events.notice(problem.to_string());
    }
    let input = Input {
        view: &answer.view,
        row,
        judged: &answer.compared.judged,
        policy,
        samples: &evidence.samples,
        past: evidence.past,
        queries: &evidence.queries,
    };
    Ok(Explanation::new(&input).expect("rows are made of what was judged"))
}
