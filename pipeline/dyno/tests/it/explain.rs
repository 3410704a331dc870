//! `dyno compare --explain`: what it prints is what the SQL that it prints gives.

use serde_json::Value;

use crate::world::{BUILD, World, embedded};

/// The rows of an answer.
fn rows(world: &World, sql: &str) -> Vec<Value> {
    let told = world.dyno(&["sql", "--output", "json", sql]);
    assert_eq!(told.code, Some(0), "{sql}\n{told:?}");
    told.out.lines().map(|row| serde_json::from_str(row).unwrap()).collect()
}

/// Numbers that were computed in another order differ in their last digits.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1e-9),
        _ => a == b,
    }
}

#[test]
fn an_explanation_is_what_its_sql_says() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let program = format!("print hello\n{}", "\n".repeat(5000));
    world.commit("v3", BUILD, &program);
    // Two runs of one pair are pooled, and the one before them lends its noise.
    for words in [&["v1", "v2"][..], &["v1", "v3"], &["v1", "v3", "--again"]] {
        let told = world.dyno(&[&["run", "made"], words, &["--rounds", "3"]].concat());
        assert_eq!(told.code, Some(0), "{told:?}");
    }
    let told = world.dyno(&["compare", "v1", "v3", "--explain", "greet/wall", "--json"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let explained: Value = serde_json::from_str(&told.out).unwrap();
    let query = |what: &str| -> Vec<Value> {
        let queries = explained["queries"].as_array().unwrap();
        let found = queries.iter().find(|q| q["what"].as_str().unwrap().contains(what));
        let sql = found.unwrap_or_else(|| panic!("{what}: {queries:?}"))["sql"].as_str().unwrap();
        // As it is printed, with its end.
        rows(&world, &format!("{sql};"))
    };
    let shown = explained["rounds"].as_array().unwrap();
    assert_eq!(shown.len(), 6);
    let key = |row: &Value| (row["job"].as_str().unwrap()[..12].to_string(), row["round"].clone());
    for row in query("the rounds") {
        let pair = shown.iter().find(|pair| key(pair) == key(&row)).unwrap();
        for column in ["baseline", "candidate", "d"] {
            assert!(same(&pair[column], &row[column]), "{column}: {pair} {row}");
        }
    }
    for pair in shown {
        let taken = query("the samples");
        let first = taken.iter().find(|sample| key(sample) == key(pair)).unwrap();
        assert_eq!(pair["first"], first["side"]);
    }
    let [rounds, noise, estimate] = ["rounds", "noise", "estimate"].map(|part| &explained[part]);
    let jobs = query("mean and variance");
    assert_eq!(jobs.iter().map(|job| job["rounds"].as_u64().unwrap()).sum::<u64>(), 6, "{rounds}");
    let past = query("past runs").remove(0);
    for (shown, asked) in [
        (&noise["past_runs"], &past["runs"]),
        (&noise["past_df"], &past["df"]),
        (&noise["history"]["value"], &past["variance"]),
    ] {
        assert!(same(shown, asked), "{shown} {asked}");
    }
    let row = query("the estimate").remove(0);
    for (shown, column) in [
        (&explained["row"]["verdict"], "verdict"),
        (&explained["row"]["effect"]["fraction"], "effect"),
        (&explained["row"]["effect"]["low"], "low"),
        (&explained["rule"]["decides"], "decides"),
        (&explained["rule"]["smallest_effect"], "smallest_effect"),
        (&estimate["mean"], "mean_log_ratio"),
        (&estimate["p"], "p"),
        (&estimate["q"], "q"),
        (&estimate["detectable"], "detectable"),
        (&noise["used"]["value"], "variance"),
        (&noise["used"]["df"], "df"),
        (&noise["run"]["value"], "run_variance"),
        (&noise["history"]["df"], "history_df"),
    ] {
        assert!(same(shown, &row[column]), "{column}: {shown} {row}");
    }
    assert!(same(&explained["family"]["series"], &query("the family").remove(0)["series"]));

    // The text says the same, of a row by its id too; what is not there is wrong input.
    let id = explained["row"]["id"].as_str().unwrap();
    let text = world.dyno(&["compare", "v1", "v3", "--explain", id]);
    assert!(text.out.starts_with("greet/wall@local (made: v1 → v3)\n"), "{text:?}");
    let sql = explained["queries"][0]["sql"].as_str().unwrap();
    assert!(text.out.contains(sql), "{text:?}");
    // The beginning of a name is enough where it is that of one alone.
    let begun = world.dyno(&["compare", "v1", "v3", "--explain", "greet/wal"]);
    assert_eq!(begun.out, text.out);
    let unknown = world.dyno(&["compare", "v1", "v3", "--explain", "greet/walk"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (Some(2), ""));
    assert!(unknown.err.contains("the nearest are greet/wall@local"), "{unknown:?}");
}
