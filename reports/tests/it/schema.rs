//! The shape of what programs read: every key with its types, and the words of those that have few,
//! of all scenarios together.

use std::collections::{BTreeMap, BTreeSet};

use dyno_model::build_graph::NoGain;
use dyno_reports::json;
use serde_json::Value;

use crate::{explain, scenarios};

/// Types by path: `(rows)[].effect.low` → `number`.
#[derive(Default)]
struct Schema(BTreeMap<String, BTreeSet<String>>);

/// Keys whose values are words of a closed set.
const WORDS: [&str; 13] = [
    "because",
    "conclusion",
    "first",
    "floor_is",
    "kind",
    "mark",
    "outcome",
    "rate",
    "shown",
    "side",
    "standing",
    "tier",
    "verdict",
];

fn is_key(path: &str, key: &str) -> bool {
    path.rsplit('.').next() == Some(key)
}

const ROWS: [&str; 7] = [
    "conflicting",
    "regressed",
    "improved",
    "inconclusive",
    "unchanged",
    "not_deciding",
    "informing",
];

impl Schema {
    fn add(&mut self, path: &str, value: &Value) {
        let name = match value {
            Value::Null => "null".to_string(),
            Value::Bool(_) => "boolean".to_string(),
            Value::Number(_) => "number".to_string(),
            Value::String(text) => match WORDS.iter().any(|key| is_key(path, key)) {
                true => format!("\"{text}\""),
                false => "string".to_string(),
            },
            Value::Array(_) => "array".to_string(),
            Value::Object(_) => "object".to_string(),
        };
        if !path.is_empty() {
            self.0.entry(path.to_string()).or_default().insert(name);
        }
        match value {
            Value::Array(values) => {
                values.iter().for_each(|value| self.add(&format!("{path}[]"), value));
            }
            Value::Object(fields) => {
                let path = if path.is_empty() { String::new() } else { format!("{path}.") };
                for (key, value) in fields {
                    // The lists of rows have one shape.
                    let is_of_rows = path.is_empty() && ROWS.contains(&key.as_str());
                    let key = if is_of_rows { "(rows)" } else { key };
                    self.add(&format!("{path}{key}"), value);
                }
            }
            _ => {}
        }
    }

    fn text(&self) -> String {
        let line = |(path, types): (&String, &BTreeSet<String>)| {
            let types: Vec<&str> = types.iter().map(String::as_str).collect();
            format!("{path}: {}\n", types.join(" | "))
        };
        self.0.iter().map(line).collect()
    }

    /// Keys of which no scenario has a value.
    fn unfilled(&self) -> Vec<&str> {
        let has_below =
            |path: &str| self.0.keys().any(|other| other.starts_with(&format!("{path}[")));
        let is_unfilled = |(path, types): &(&String, &BTreeSet<String>)| {
            types.iter().all(|name| name == "null") || types.contains("array") && !has_below(path)
        };
        self.0.iter().filter(is_unfilled).map(|(path, _)| path.as_str()).collect()
    }
}

#[test]
fn programs_read_a_schema() {
    let mut schema = Schema::default();
    let mut without_gain = scenarios::axes();
    without_gain.builds[0].gain = Some(Err(NoGain::NotPositive { pipelining: "on" }));
    for scenario in scenarios::all().into_iter().chain([scenarios::rustc(), without_gain]) {
        let text = json(&scenario.view());
        assert!(text.ends_with("}\n"));
        schema.add("", &serde_json::from_str(&text).expect("it is JSON"));
    }
    assert_eq!(schema.unfilled(), Vec::<&str>::new());
    let top = json(&scenarios::no_series().view());
    let top: serde_json::Map<String, Value> = serde_json::from_str(&top).expect("it is an object");
    assert!(ROWS.iter().all(|list| top[*list].is_array()));
    insta::assert_snapshot!("view", schema.text());
}

#[test]
fn programs_read_the_schema_of_an_explanation() {
    let mut schema = Schema::default();
    for scenario in scenarios::all() {
        for row in scenario.view().rows() {
            let text = dyno_reports::explain::json(&explain::explained(&scenario, &row.series));
            assert!(text.ends_with("}\n"));
            let mut value: Value = serde_json::from_str(&text).expect("it is JSON");
            // A row is that of the view.
            value.as_object_mut().expect("an object").remove("row").expect("a row");
            schema.add("", &value);
        }
    }
    assert_eq!(schema.unfilled(), Vec::<&str>::new());
    insta::assert_snapshot!("explained", schema.text());
}

/// A number that is not finite is `null`, whatever reads it.
#[test]
fn numbers_that_are_not_finite_are_null() {
    let mut view = scenarios::regressed().view();
    view.regressed[0].p = Some(f64::NAN);
    view.regressed[0].delta_fraction = f64::INFINITY;
    let value: Value = serde_json::from_str(&json(&view)).expect("it is JSON");
    assert_eq!(value["regressed"][0]["p"], Value::Null);
    assert_eq!(value["regressed"][0]["delta_fraction"], Value::Null);
}
