//! JSON with `serde_json`: parses SIZE records, filters and changes them, adds them up by group,
//! writes the result compact and indented, and reads it back.

use std::fmt::Write;

use programs::{Digest, Random, arguments};
use serde_json::{Map, Value, json};

fn records(count: u32, mut random: Random) -> String {
    let mut text = String::from("[");
    for id in 0..count {
        let comma = if id > 0 { "," } else { "" };
        let (first, last) = (random.word(), random.word());
        let team = random.pick(&["parser", "codegen", "runtime", "linker", "tools"]);
        let _ = write!(
            text,
            "{comma}\n  {{\"id\": {id}, \"name\": \"{first} \\\"{last}\\\" \\u00e9\\n\", "
        );
        let _ = write!(text, "\"team\": \"{team}\", \"active\": {}, ", random.below(4) > 0);
        let sign = random.pick(&["", "-"]);
        let _ =
            write!(text, "\"effect\": {sign}{}.{:03}e-2, ", random.below(90), random.below(1000));
        let _ = write!(text, "\"note\": null, \"place\": {{\"x\": {}, \"y\": ", random.below(4096));
        let _ = write!(text, "{}}}, \"times\": [", random.next_u64() >> 20);
        for index in 0..random.below(8) {
            let comma = if index > 0 { ", " } else { "" };
            let _ = write!(text, "{comma}{}", random.below(1_000_000));
        }
        text.push_str("]}");
    }
    text.push_str("\n]\n");
    text
}

/// Keeps the active ones, sorted by total time, with a total and without the empty note.
fn transform(records: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> =
        records.into_iter().filter(|record| record["active"] == true).collect();
    for record in &mut kept {
        let times = record["times"].as_array().into_iter().flatten();
        let total: u64 = times.filter_map(Value::as_u64).sum();
        record["total"] = total.into();
        record["place"]["far"] = (record["place"]["x"].as_u64() > Some(2048)).into();
        if let Some(fields) = record.as_object_mut() {
            fields.remove("note");
        }
    }
    kept.sort_by_key(|record| (record["total"].as_u64(), record["id"].as_u64()));
    kept
}

/// Per team: how many, their total time and the sum of their effects.
fn by_team(records: &[Value]) -> Map<String, Value> {
    let mut teams = Map::new();
    for record in records {
        let name = record["team"].as_str().unwrap_or_default();
        if !teams.contains_key(name) {
            teams.insert(name.to_string(), json!({ "count": 0, "total": 0, "effect": 0.0 }));
        }
        let team = &mut teams[name];
        team["count"] = (team["count"].as_u64().unwrap_or(0) + 1).into();
        team["total"] =
            (team["total"].as_u64().unwrap_or(0) + record["total"].as_u64().unwrap_or(0)).into();
        team["effect"] = (team["effect"].as_f64().unwrap_or(0.0)
            + record["effect"].as_f64().unwrap_or(0.0))
        .into();
    }
    teams
}

fn main() {
    let (size, random) = arguments();
    let source = records(size, random);
    eprintln!("source {} bytes {}", source.len(), Digest::of(source.as_bytes()));
    let parsed: Vec<Value> = serde_json::from_str(&source).expect("the source is valid JSON");
    eprintln!("records {}", parsed.len());

    let kept = transform(parsed);
    let teams = by_team(&kept);
    for (name, team) in &teams {
        eprintln!("team {name} {team}");
    }
    let result = json!({ "records": kept, "teams": teams });
    let compact = result.to_string();
    let indented = format!("{result:#}");
    eprintln!("compact {} bytes {}", compact.len(), Digest::of(compact.as_bytes()));
    eprintln!("indented {} bytes {}", indented.len(), Digest::of(indented.as_bytes()));
    let again: Value = serde_json::from_str(&indented).expect("what was written is valid JSON");
    assert!(again == result, "what was written reads back as something else");
}
