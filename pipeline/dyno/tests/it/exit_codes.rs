//! One rule for the exit code, however an answer comes about, and an answer of what was asked.

use serde_json::Value;

use super::world::{BUILD, World, embedded};

/// Whether the words end with `code`, each as JSON; the last answer.
fn all_end_with(world: &World, code: i32, commands: &[Vec<&str>]) -> Value {
    let mut answer = Value::Null;
    for words in commands {
        let told = world.dyno(words);
        assert_eq!(told.code, Some(code), "{words:?}: {told:?}");
        answer = serde_json::from_str(&told.out).unwrap_or_else(|e| panic!("{e}: {told:?}"));
    }
    answer
}

#[test]
fn what_is_newly_failing_ends_alike_everywhere() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v3", BUILD, "complain oops\nexit 3\n");
    let run = vec!["run", "made", "v1", "v3", "--rounds", "2", "--json"];
    let compare = vec!["compare", "v1", "v3", "--json"];
    // Measured, held, compared: without the option it fails, with it it regressed.
    let commands = [run, compare];
    let answer =
        all_end_with(&world, 5, &[&commands[0], &commands[0], &commands[1]].map(Vec::clone));
    assert_eq!(answer["conclusion"], "Regressed", "{answer}");
    assert_eq!(answer["failures"][0]["standing"], "newly-failing", "{answer}");
    let gated = commands.map(|words| [&words[..], &["--fail-on-regression"]].concat());
    let answer = all_end_with(&world, 1, &gated);
    assert_eq!(answer["gate_fails"], true, "{answer}");
}

#[test]
fn the_answer_is_of_what_was_asked() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let benchmark = |name: &str, answer: &str| {
        format!(
            "[[benchmark]]\nname = \"{name}\"\nwhat = \"{name}\"\n\
             command = [\"{{artifact}}/tool\", \"script\", \"{{artifact}}/program\"]\n\
             expected = {{ stdout_file = \"{answer}\" }}\n\
             limits = {{ time_s = 20, memory = \"256MiB\", pids = 64, output = \"1MiB\" }}\n"
        )
    };
    let more = benchmark("again", "hello.txt") + &benchmark("wrong", "other.txt");
    world.write("suites/made/other.txt", "other");
    world.edit("suites/made/suite.toml", "[[benchmark]]\n", &format!("{more}[[benchmark]]\n"));
    let run = vec!["run", "made", "v1", "v2", "--rounds", "2", "--json"];
    let all = all_end_with(&world, 5, std::slice::from_ref(&run)).to_string();
    assert!(all.contains("\"again\"") && all.contains("\"wrong\""), "{all}");
    // One benchmark alone, measured and held: no row, failure or code is of another.
    let greet = [&run[..], &["--benchmark", "greet"]].concat();
    let answer = all_end_with(&world, 0, &[greet.clone(), greet]);
    let text = answer.to_string();
    assert!(!text.contains("\"again\"") && !text.contains("\"wrong\""), "{text}");
    assert!(text.contains("\"greet\""), "{text}");
    let runs: Vec<String> =
        answer["runs"].as_array().unwrap().iter().map(|run| run["job"].to_string()).collect();
    assert_eq!(runs.len(), 2, "the job of all has a part in it: {runs:?}");
    let command = answer["links"]["command"].as_str().unwrap_or_default();
    let job = command.split(" --job ").nth(1).unwrap_or_default();
    let bounded = vec!["compare", "v1", "v2", "--job", job, "--json"];
    let compared = all_end_with(&world, 0, &[bounded]);
    assert_eq!(compared["counts"], answer["counts"]);
    // A job that has no case in common has no part in it: neither notices nor provenance.
    let again = [&run[..], &["--benchmark", "again"]].concat();
    all_end_with(&world, 0, std::slice::from_ref(&again));
    let compared = all_end_with(&world, 0, &[vec!["compare", "v1", "v2", "--job", job, "--json"]]);
    assert_eq!(compared["runs"].as_array().unwrap().len(), 2, "{compared}");
    // Without it the store answers with all that it has.
    all_end_with(&world, 5, &[vec!["compare", "v1", "v2", "--json"]]);
}
