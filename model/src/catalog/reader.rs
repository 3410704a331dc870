//! A cursor over a TOML document that collects every mistake instead of stopping at the first.
//!
//! [`read`] hands the root [`Table`] to a closure; each `required`/`optional` call removes the
//! key it names, and whatever is left when a table goes out of use is an unknown key. The
//! accessors return `None` after noting a mistake, so callers build their value with `?`-free
//! straight code and give it up at the end if anything was noted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use super::suggest::{suggest, suggest_of};
use crate::mistake::{Mistake, Mistakes};

type Notes = RefCell<Vec<Mistake>>;

/// Parses `text` and reads it with `reader`. The value is returned only if nothing was noted.
pub fn read<T>(
    file: &str,
    text: &str,
    reader: impl FnOnce(&mut Table<'_>) -> Option<T>,
) -> Result<T, Mistakes> {
    let notes = Notes::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        notes.borrow_mut().push(Mistake {
            span: error.span().unwrap_or(0..0),
            message: format!("not TOML: {}", error.message().trim().replace('\n', ", ")),
            expected: "a TOML 1.0 document".into(),
            hint: None,
        });
    }
    let span = document.span();
    let value = {
        let mut table = Table::new(document.get_ref(), span, "the file".into(), &notes);
        // After a syntax error whole tables may be missing: only what is present is judged.
        table.broken = !errors.is_empty();
        let value = reader(&mut table);
        table.finish();
        value
    };
    let mut list = notes.into_inner();
    list.sort_by_key(|mistake| mistake.span.start);
    list.dedup();
    match value {
        Some(value) if list.is_empty() => Ok(value),
        _ => {
            if list.is_empty() {
                list.push(Mistake {
                    span: 0..0,
                    message: "the file says nothing usable".into(),
                    expected: "the keys of this kind of file".into(),
                    hint: None,
                });
            }
            Err(Mistakes { file: file.into(), text: text.into(), list })
        }
    }
}

/// A value with the place it was written at.
#[derive(Debug, Clone)]
pub struct Located<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// One TOML table under reading.
pub struct Table<'a> {
    unread: BTreeMap<&'a str, (&'a Spanned<DeValue<'a>>, Range<usize>)>,
    keys_read: Vec<&'static str>,
    span: Range<usize>,
    name: String,
    notes: &'a Notes,
    broken: bool,
}

impl<'a> Table<'a> {
    fn new(table: &'a DeTable<'a>, span: Range<usize>, name: String, notes: &'a Notes) -> Self {
        let unread = table.iter().map(|(k, v)| (k.get_ref().as_ref(), (v, k.span()))).collect();
        Self { unread, keys_read: Vec::new(), span, name, notes, broken: false }
    }

    /// Where this table was written, for mistakes about the whole of it.
    pub fn span(&self) -> Range<usize> {
        // A whole table underlined is unreadable: its first byte is enough to find it.
        self.span.start..self.span.start
    }

    /// Notes a mistake at `span`.
    pub fn note(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        expected: impl Into<String>,
        hint: Option<String>,
    ) {
        self.notes.borrow_mut().push(Mistake {
            span,
            message: message.into(),
            expected: expected.into(),
            hint,
        });
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.keys_read.push(key);
        self.unread.remove(key).map(|(value, _)| value)
    }

    fn missing(&self, key: &str, expected: &str) {
        if !self.broken {
            self.note(
                self.span(),
                format!("`{key}` is missing in {}", self.name),
                expected.to_string(),
                None,
            );
        }
    }

    /// Whether the file had a syntax error, after which whole tables may be missing.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the key was written at all (does not take it).
    pub fn has(&self, key: &str) -> bool {
        self.unread.contains_key(key)
    }

    /// Notes that `key` has a value of another type than `expected`.
    pub fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        self.note(
            value.span(),
            format!("`{key}` is {}", article(value.get_ref().type_str())),
            expected.to_string(),
            None,
        );
    }

    pub fn optional_str(&mut self, key: &'static str) -> Option<Located<String>> {
        let value = self.take(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(Located { value: text.to_string(), span: value.span() }),
            None => {
                self.wrong_type(key, value, "a string");
                None
            }
        }
    }

    pub fn required_str(&mut self, key: &'static str) -> Option<Located<String>> {
        if !self.has(key) {
            self.keys_read.push(key);
            self.missing(key, "a string");
            return None;
        }
        self.optional_str(key)
    }

    /// A string that must be one of `values`.
    pub fn optional_choice<T: Copy>(
        &mut self,
        key: &'static str,
        values: &[(&str, T)],
    ) -> Option<T> {
        // `true` and `false` can be names of choices too.
        let boolean = self.unread.get(key).and_then(|(value, _)| value.get_ref().as_bool());
        let text = match boolean {
            Some(boolean) => Located { value: boolean.to_string(), span: self.take(key)?.span() },
            None => self.optional_str(key)?,
        };
        if let Some((_, value)) = values.iter().find(|(name, _)| *name == text.value) {
            return Some(*value);
        }
        let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        self.note(
            text.span,
            format!("`{key}` is \"{}\"", text.value),
            one_of(&names),
            suggest(&text.value, names.iter().copied()),
        );
        None
    }

    pub fn optional_bool(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        let answer = value.get_ref().as_bool();
        if answer.is_none() {
            self.wrong_type(key, value, "true or false");
        }
        answer
    }

    /// A whole number within `range` (inclusive).
    pub fn optional_integer(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.take(key)?;
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, &expected);
            return None;
        };
        match u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                self.note(value.span(), format!("`{key}` is {integer}"), expected, None);
                None
            }
        }
    }

    /// A finite number within `range` (inclusive); whole numbers are taken too.
    pub fn optional_number(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<f64>,
    ) -> Option<f64> {
        let value = self.take(key)?;
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let text = match value.get_ref() {
            DeValue::Float(float) => float.as_str().replace('_', ""),
            DeValue::Integer(integer) => integer.as_str().replace('_', ""),
            _ => {
                self.wrong_type(key, value, &expected);
                return None;
            }
        };
        match text.parse::<f64>() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                self.note(value.span(), format!("`{key}` is {text}"), expected, None);
                None
            }
        }
    }

    /// A list of strings; absent means empty.
    pub fn strings(&mut self, key: &'static str) -> Vec<Located<String>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list of strings");
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) => strings.push(Located { value: text.to_string(), span: item.span() }),
                None => self.wrong_type(key, item, "a string"),
            }
        }
        strings
    }

    /// A list of at least one string; see [`Table::strings`].
    pub fn required_strings(&mut self, key: &'static str) -> Vec<Located<String>> {
        if !self.has(key) {
            self.keys_read.push(key);
            self.missing(key, "a list of strings");
            return Vec::new();
        }
        let before = self.notes.borrow().len();
        let span = self.unread[key].1.clone();
        let strings = self.strings(key);
        if strings.is_empty() && self.notes.borrow().len() == before {
            self.note(span, format!("`{key}` is empty"), "at least one string", None);
        }
        strings
    }

    /// A table under `key`, read by `reader`.
    pub fn optional_table<T>(
        &mut self,
        key: &'static str,
        reader: impl FnOnce(&mut Table<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, value, "a table");
            return None;
        };
        self.child(table, value.span(), format!("[{key}]"), reader)
    }

    pub fn required_table<T>(
        &mut self,
        key: &'static str,
        reader: impl FnOnce(&mut Table<'a>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.keys_read.push(key);
            self.missing(key, &format!("a table [{key}]"));
            return None;
        }
        self.optional_table(key, reader)
    }

    /// A list of tables under `key` (`[[key]]`); absent means empty.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        mut reader: impl FnMut(&mut Table<'a>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, &format!("a list of tables [[{key}]]"));
            return Vec::new();
        };
        let mut items = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => {
                    items.extend(self.child(table, item.span(), format!("[[{key}]]"), &mut reader));
                }
                None => self.wrong_type(key, item, "a table"),
            }
        }
        items
    }

    /// Every remaining key of this table as a named table, in the order of names
    /// (`[metric.wall]`, `[metric.user]` … under `metric`).
    pub fn named_tables<T>(
        &mut self,
        mut reader: impl FnMut(&Located<String>, &mut Table<'a>) -> Option<T>,
    ) -> Vec<T> {
        let mut items = Vec::new();
        for (key, (value, span)) in std::mem::take(&mut self.unread) {
            let name = Located { value: key.to_string(), span };
            match value.get_ref().as_table() {
                Some(table) => items.extend(self.child(
                    table,
                    value.span(),
                    format!("`{key}` of {}", self.name),
                    |inner| reader(&name, inner),
                )),
                None => self.wrong_type(key, value, "a table"),
            }
        }
        items
    }

    /// Every remaining key of this table as a named list of strings; a string stands for a list of
    /// one.
    pub fn named_strings(&mut self) -> Vec<(Located<String>, Vec<Located<String>>)> {
        let mut items = Vec::new();
        for (key, (value, span)) in std::mem::take(&mut self.unread) {
            if let Some(text) = value.get_ref().as_str() {
                let only = Located { value: text.to_string(), span: value.span() };
                items.push((Located { value: key.to_string(), span }, vec![only]));
                continue;
            }
            let Some(array) = value.get_ref().as_array() else {
                self.wrong_type(key, value, "a list of strings");
                continue;
            };
            let mut strings = Vec::new();
            for item in array.iter() {
                match item.get_ref().as_str() {
                    Some(text) => {
                        strings.push(Located { value: text.to_string(), span: item.span() })
                    }
                    None => self.wrong_type(key, item, "a string"),
                }
            }
            items.push((Located { value: key.to_string(), span }, strings));
        }
        items
    }

    /// Every remaining key of this table with its value, whatever that is.
    pub fn named(&mut self) -> Vec<(Located<String>, &'a Spanned<DeValue<'a>>)> {
        let unread = std::mem::take(&mut self.unread).into_iter();
        unread
            .map(|(key, (value, span))| (Located { value: key.to_string(), span }, value))
            .collect()
    }

    /// Every remaining key of this table as a named string (environment variables).
    pub fn named_str(&mut self) -> Vec<(Located<String>, Located<String>)> {
        let mut items = Vec::new();
        for (key, (value, span)) in std::mem::take(&mut self.unread) {
            match value.get_ref().as_str() {
                Some(text) => items.push((
                    Located { value: key.to_string(), span },
                    Located { value: text.to_string(), span: value.span() },
                )),
                None => self.wrong_type(key, value, "a string"),
            }
        }
        items
    }

    fn child<T>(
        &self,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        name: String,
        reader: impl FnOnce(&mut Table<'a>) -> Option<T>,
    ) -> Option<T> {
        let mut inner = Table::new(table, span, name, self.notes);
        inner.broken = self.broken;
        let value = reader(&mut inner);
        inner.finish();
        value
    }

    fn finish(&mut self) {
        for (key, (_, span)) in std::mem::take(&mut self.unread) {
            self.note(
                span,
                format!("`{key}` is not known in {}", self.name),
                one_of(&self.keys_read),
                suggest(key, self.keys_read.iter().copied()),
            );
        }
    }
}

/// `one of a, b, c`, for the `expected` of a mistake.
pub fn one_of<S: AsRef<str>>(names: &[S]) -> String {
    let mut names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [] => "nothing here".into(),
        [one] => (*one).to_string(),
        _ => format!("one of {}", names.join(", ")),
    }
}

fn article(noun: &str) -> String {
    let an = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if an { "an" } else { "a" })
}

/// Whether `name` can stand in paths, keys and containers' names: `[a-z0-9][a-z0-9._-]*`, 64 at
/// most.
pub fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    (1..=64).contains(&name.len())
        && name.chars().all(is_allowed)
        && !name.starts_with(['.', '-', '_'])
}

/// Checks a name and notes a mistake if it cannot stand where names stand.
pub fn checked_name(table: &Table<'_>, name: Located<String>) -> Option<String> {
    if is_name(&name.value) {
        return Some(name.value);
    }
    table.note(
        name.span,
        format!("\"{}\" cannot be a name", name.value.escape_debug()),
        "small letters, digits, `.`, `_` and `-`, at most 64, starting with a letter or digit",
        None,
    );
    None
}
