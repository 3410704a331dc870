//! Errors of the store, for a person.

use dyno_base::error::{Error, While};

/// An error of the store, with the exit code it deserves.
pub fn store_error(error: dyno_query::Error) -> Error {
    use dyno_query::Error as Store;
    let text = dyno_base::error::chain(&error);
    match error {
        Store::NoPlace { .. }
        | Store::NoComparison { .. }
        | Store::Ambiguous { .. }
        | Store::NoRun { .. }
        | Store::ReadOnly { .. }
        | Store::Sql(_) => Error::input(text),
        _ => Err::<(), _>(error).while_(|| "the store".into()).expect_err("an error was given"),
    }
}
