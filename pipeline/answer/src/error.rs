//! Errors of the store and of queries, for a person.

use dyno_base::error::Error;

/// An error of the store, with the kind that decides the exit code.
pub fn store_error(error: dyno_store::Error) -> Error {
    let is_input = error.is_input();
    Error::classify(error, is_input, "the store")
}

/// An error of a query, with the kind that decides the exit code.
pub fn query_error(error: dyno_query::Error) -> Error {
    let is_input = error.is_input();
    let has_no_comparison = matches!(error, dyno_query::Error::NoComparison { .. });
    let error = Error::classify(error, is_input, "the store");
    match has_no_comparison {
        true => error.hint(
            "a name is what a run was asked by, or a commit's id of 7 digits or more: `dyno store list`",
        ),
        false => error,
    }
}
