//! Reading `[axes]`: each a list of values, or a table of names for values that are no names.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use crate::catalog::reader::{Located, Table, is_name};

/// A value, or the name of one and the value.
type NamedValue = (Located<String>, Option<String>);

/// Axis → values, and of those that have names what each stands for.
type Axes = (BTreeMap<String, Vec<String>>, BTreeMap<String, BTreeMap<String, String>>);

/// Reads all keys of the table as axes.
pub(super) fn axes(table: &mut Table<'_>) -> Axes {
    let (mut axes, mut named_values) = Axes::default();
    for (name, values) in table.named() {
        let reserved = ["artifact", "inputs", "suite"].contains(&name.value.as_str());
        if reserved || !is_name(&name.value) {
            table.note(
                name.span.clone(),
                format!("\"{}\" cannot be an axis", name.value.escape_debug()),
                "a name of small letters, digits and `-` that is not artifact, inputs or suite",
                None,
            );
        }
        // What cannot be read was said.
        let Some(values) = read_values(table, &name.value, values) else { continue };
        if values.is_empty() {
            table.note(
                name.span.clone(),
                format!("axis `{}` has no value", name.value),
                "at least one value",
                None,
            );
        }
        let mut distinct: Vec<String> = Vec::new();
        let mut meanings = BTreeMap::new();
        for (value, meaning) in values {
            check_value(table, &name.value, &value, meaning.as_deref());
            if distinct.contains(&value.value) {
                let what = format!("\"{}\" stands twice", value.value);
                table.note(value.span, what, "each value once", None);
                continue;
            }
            meanings.extend(meaning.map(|meaning| (value.value.clone(), meaning)));
            distinct.push(value.value);
        }
        if !meanings.is_empty() {
            named_values.insert(name.value.clone(), meanings);
        }
        axes.insert(name.value, distinct);
    }
    (axes, named_values)
}

/// Reads a list of values, or a table of names and values, in the order written.
fn read_values(
    table: &Table<'_>,
    axis: &str,
    values: &Spanned<DeValue<'_>>,
) -> Option<Vec<NamedValue>> {
    let text = |value: &Spanned<DeValue<'_>>| {
        let text = match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => Some(number.to_string()),
            _ => None,
        };
        if text.is_none() {
            table.wrong_type(axis, value, "a string or a whole number");
        }
        text
    };
    match values.get_ref() {
        DeValue::Array(array) => {
            let value = |item| Some((Located { value: text(item)?, span: item.span() }, None));
            // All of them, so that each mistake is noted.
            array.iter().map(value).collect::<Vec<_>>().into_iter().collect()
        }
        DeValue::Table(pairs) => {
            let value = |(name, item): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<_>)| {
                let meaning = text(item)?;
                let name = Located { value: name.get_ref().to_string(), span: name.span() };
                Some((name, Some(meaning)))
            };
            let read: Option<Vec<NamedValue>> =
                pairs.iter().map(value).collect::<Vec<_>>().into_iter().collect();
            let mut read = read?;
            read.sort_by_key(|(name, _)| name.span.start);
            Some(read)
        }
        _ => {
            table.wrong_type(axis, values, "a list of values, or a table of names and values");
            None
        }
    }
}

/// Checks a value, which has a name of its own where there is a `meaning`. Cases are called by it,
/// and `,` and `/` are what divides their names.
fn check_value(table: &Table<'_>, axis: &str, value: &Located<String>, meaning: Option<&str>) {
    let is_plain = |text: &str| !text.chars().any(char::is_control) && text.len() <= 64;
    let text = &value.value;
    let is_own_name = is_plain(text) && !text.is_empty() && !text.contains([',', '/', '[', ']']);
    if !is_own_name {
        table.note(
            value.span.clone(),
            format!("\"{}\" needs a name: cases are called by their values", text.escape_debug()),
            "1 to 64 characters without `,`, `/`, `[` and `]`, or a table of names and values",
            Some(match meaning {
                Some(_) => "another name".into(),
                None => format!("{axis} = {{ NAME = \"{}\", … }}", text.escape_debug()),
            }),
        );
    }
    if meaning.is_some_and(|meaning| meaning.contains('\0') || meaning.len() > 4096) {
        table.note(
            value.span.clone(),
            format!("`{text}` cannot be a word of a command"),
            "at most 4096 bytes without a NUL",
            None,
        );
    }
}
