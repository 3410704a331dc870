//! Names in SQL that were others before. The old ones go on working: a statement that uses one is
//! planned over tables that have it beside the new one, and whoever shows the answer can say so.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Columns of `comparisons` and `compare(…)`: the old name and the new one.
const RENAMED_COLUMNS: [(&str, &str); 2] =
    [("crowd_variance", "peer_prior_variance"), ("crowd_df", "peer_prior_df")];

/// What to say of the old names that `sql` uses, one line each.
pub fn spelling_notes(sql: &str) -> Vec<String> {
    old_columns(sql)
        .map(|(old, new)| {
            format!("the column `{old}` is now called `{new}`; the old name still works")
        })
        .collect()
}

/// Whether `sql` needs the tables that have old names.
pub(crate) fn uses_old_columns(sql: &str) -> bool {
    old_columns(sql).next().is_some()
}

fn old_columns(sql: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    // What is no SQL uses no name; the error comes from where it is planned.
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let mut used = Vec::new();
    let mut is_alias = false;
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        if let Token::Word(word) = token
            && !is_alias
        {
            used.push(word.value.to_ascii_lowercase());
        }
        is_alias = matches!(token, Token::Word(word) if word.keyword == Keyword::AS);
    }
    RENAMED_COLUMNS.into_iter().filter(move |(old, _)| used.iter().any(|word| word == old))
}

/// `batch` with its renamed columns once more under their old names, behind the others.
pub(crate) fn with_old_columns(batch: &RecordBatch) -> RecordBatch {
    let (mut fields, mut columns) = (batch.schema().fields().to_vec(), batch.columns().to_vec());
    for (old, new) in RENAMED_COLUMNS {
        if let Ok(place) = batch.schema().index_of(new) {
            fields.push(Arc::new(fields[place].as_ref().clone().with_name(old)));
            columns.push(Arc::clone(&columns[place]));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_are_noted_where_they_are_used() {
        for (sql, old) in [
            ("SELECT crowd_df FROM comparisons", &["crowd_df"][..]),
            (
                "SELECT c.CROWD_VARIANCE, crowd_df FROM comparisons c",
                &["crowd_variance", "crowd_df"],
            ),
            ("SELECT peer_prior_df FROM comparisons", &[]),
            ("SELECT 'crowd_df' -- crowd_df", &[]),
            ("SELECT peer_prior_df AS crowd_df FROM comparisons", &[]),
            ("SELECT 'open", &[]),
        ] {
            let notes = spelling_notes(sql);
            assert_eq!(notes.len(), old.len(), "{sql}: {notes:?}");
            for (note, old) in notes.iter().zip(old) {
                assert!(note.contains(&format!("`{old}` is now")), "{sql}: {note}");
            }
        }
    }
}
