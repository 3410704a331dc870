use super::*;
use crate::catalog::suite::Config;
use crate::catalog::suite::{Priority, Selection};

const GOOD: &str = r#"
what = "a target"
image = "rust"
metrics = ["wall", "max-rss"]
[source]
crate = "wasmi_cli"
[build]
fetch = ["cargo", "fetch"]
command = ["cargo", "build"]
outputs = { engine = "release/engine" }
[axes]
level = ["3", "s"]
threads = ["1", "2"]
[[benchmark]]
name = "fib"
what = "recursion"
command = ["{artifact}/engine", "{suite}/fib-{level}.wasm"]
expected = { stdout_file = "fib.out" }
"#;

#[test]
fn a_suite_gives_the_product_of_its_axes() {
    let suite = parse("s", "suites/s/suite.toml", GOOD).unwrap();
    let cases: Vec<String> = suite.cases().iter().map(ToString::to_string).collect();
    assert_eq!(
        cases,
        [
            "fib [level=3,threads=1]",
            "fib [level=3,threads=2]",
            "fib [level=s,threads=1]",
            "fib [level=s,threads=2]"
        ]
    );
}

#[test]
fn what_is_expected_may_be_the_baselines_and_no_program_sees_an_answer() {
    let parse_suite = |text: &str| parse("s", "suites/s/suite.toml", text);
    let hidden = |text: &str| -> Vec<String> {
        parse_suite(text).unwrap().hidden_files().into_iter().map(String::from).collect()
    };
    assert_eq!(hidden(GOOD), ["fib.out", "suite.toml"]);
    let echo = GOOD.replace("expected =", "stdin = \"fib.out\"\nexpected =");
    assert_eq!(hidden(&echo), ["suite.toml"], "what it reads it must see");
    let seeded = GOOD
        .replace("{level}.wasm\"", "{level}.wasm\", \"{seed}\"")
        .replace("stdout_file = \"fib.out\"", "stderr_of = \"baseline\"");
    let Workload::Program(program) = parse_suite(&seeded).unwrap().benchmarks.remove(0).work else {
        panic!("a program")
    };
    let expected = Expected { stream: Stream::Stderr, answer: ExpectedAnswer::Baseline, exit: 0 };
    assert_eq!(program.expected, expected);
    assert_eq!(hidden(&seeded), ["suite.toml"]);
    for wrong in ["\"candidate\"", "\"baseline\", stdout_file = \"x\""] {
        assert!(parse_suite(&seeded.replace("\"baseline\"", wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn a_case_may_be_judged_without_a_count_and_a_build_see_a_folder() {
    let text = GOOD
        .replace("metrics = [\"wall\",", "metrics = [\"wall\", \"instructions:cachegrind\",")
        .replace("[build]\n", "[build]\nfolder = \"driver\"\ntypical_s = 1.5\n");
    let parse_suite = |text: &str| parse("s", "suites/s/suite.toml", text).unwrap();
    let metric_names = |suite: &Suite| suite.metrics_of(&suite.cases()[0], &suite.metrics);
    assert_eq!(metric_names(&parse_suite(&text)), ["wall", "instructions:cachegrind", "max-rss"]);
    let uncounted = text.replace("what = \"rec", "count_instructions = false\nwhat = \"rec");
    assert_eq!(metric_names(&parse_suite(&uncounted)), ["wall", "max-rss"]);

    // The key of an artifact: as before without a folder, and whatever the build takes.
    let build = parse_suite(&text).build.unwrap();
    assert_eq!((build.folder.as_deref(), build.typical_ms), (Some("driver"), Some(1500)));
    let written = |recipe: &Recipe| serde_json::to_value(recipe).unwrap();
    assert_eq!(written(&build)["folder"], "driver");
    let recipe = parse_suite(GOOD).build.unwrap();
    let without = Recipe { folder: None, ..build };
    assert_eq!(written(&without), written(&recipe));
    let keys = |recipe: &Recipe| {
        let object = written(recipe).as_object().unwrap().clone();
        object.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(keys(&recipe), ["build", "env", "fetch", "limits", "outputs"]);

    let outside = text.replace("\"driver\"", "\"../driver\"");
    assert!(parse("s", "suites/s/suite.toml", &outside).is_err());
    let of_inputs =
        format!("{text}[inputs]\nfolder = \"x\"\ncommand = [\"x\"]\noutputs = {{ a = \"a\" }}\n");
    assert!(parse("s", "suites/s/suite.toml", &of_inputs).is_err());
}

#[test]
fn what_a_check_out_holds_is_part_of_an_artifact() {
    let read = |keys: &str| {
        let text = GOOD.replacen("[source]\n", &format!("[source]\n{keys}"), 1);
        let text = text.replacen("crate = \"wasmi_cli\"", "git = \"x\"", 1);
        parse("s", "suites/s/suite.toml", &text).unwrap().build.unwrap()
    };
    let plain = read("");
    for (keys, submodules, lfs) in
        [("submodules = true\n", true, false), ("lfs = true\n", false, true)]
    {
        let recipe = read(keys);
        assert_eq!(recipe.checkout, Checkout { submodules, lfs });
        let written = |recipe: &Recipe| serde_json::to_string(recipe).unwrap();
        assert_ne!(written(&recipe), written(&plain), "{keys}");
    }
    assert_eq!(read("submodules = false\n"), plain);
    let of_crate = GOOD.replacen("[source]\n", "[source]\nlfs = true\n", 1);
    assert!(of_crate.contains("crate = \"wasmi_cli\""));
    assert!(parse("s", "suites/s/suite.toml", &of_crate).is_err(), "a release has none");
}

#[test]
fn axis_values_may_be_numbers_and_have_names() {
    let axes = r#"[axes]
level = { none = "", three = "-Copt-level=3", ld = "-Wl,-O1", root = "--sysroot=/usr", n = 2 }
threads = [2, 1, 16]
flag = ["-O2 -g", "a=b"]
"#;
    let (before, after) = GOOD.split_once("[axes]").unwrap();
    let (_, after) = after.split_once("[[benchmark]]").unwrap();
    let parse_axes = |axes: &str| {
        parse("s", "suites/s/suite.toml", &format!("{before}{axes}[[benchmark]]{after}"))
    };
    let suite = parse_axes(axes).unwrap();
    let values = |axis: &str| suite.axes[axis].join(" | ");
    assert_eq!(values("level"), "none | three | ld | root | n");
    assert_eq!((values("threads"), values("flag")), ("2 | 1 | 16".into(), "-O2 -g | a=b".into()));
    let cases = suite.cases();
    assert_eq!(cases.len(), 30);
    let words = |level: &str| {
        let case = cases.iter().find(|case| case.config.0["level"] == level).unwrap();
        // What stands in reports is read back as the same config.
        assert_eq!(Config::read(&case.config.to_string()), case.config);
        suite.axis_words(&case.config)["level"].to_string()
    };
    assert_eq!(
        ["none", "three", "ld", "root", "n"].map(words),
        ["", "-Copt-level=3", "-Wl,-O1", "--sysroot=/usr", "2"]
    );
    let last = suite.cases().pop().unwrap().config.to_string();
    assert_eq!(last, "flag=a=b,level=n,threads=16");

    let wrong = r#"[axes]
level = ["", "-Wl,-O1", "--sysroot=/usr", 1.5, 3, "3"]
threads = { "a/b" = "1" }
more = "x"
none = []
"#;
    insta::assert_snapshot!(parse_axes(wrong).unwrap_err());
}

#[test]
fn outputs_that_are_none_are_found_out() {
    let with_word = |word: &str| {
        parse(
            "s",
            "suites/s/suite.toml",
            &GOOD.replace("{artifact}/engine\",", &format!("{word}\",")),
        )
    };
    for good in [
        "{artifact}",
        "{artifact}/",
        "{artifact}/{level}",
        "{artifact}/eng*",
        "sh {artifact}/engine;",
        "{artifact}/engine.",
        "${artifact}/x",
        "{artifact}/e{level}",
        "{suite}/x",
    ] {
        assert!(with_word(good).is_ok(), "{good}: {}", with_word(good).unwrap_err());
    }
    for (bad, part) in [
        ("{artifact}/engin", "did you mean `engine`?"),
        ("set -e; {artifact}/engine; {artifact}/Engine2 x", "no output is called `Engine2`"),
        ("{artifact}/release/engine", "no output is called `release`"),
    ] {
        let wrong = with_word(bad).unwrap_err().to_string();
        assert!(wrong.contains(part), "{bad}: {wrong}");
    }
}

#[test]
fn programs_may_end_otherwise_and_be_repeated() {
    let program = |extra: &str, expected: &str| {
        let text = GOOD
            .replace("what = \"recursion\"", &format!("what = \"recursion\"\n{extra}"))
            .replace("stdout_file = \"fib.out\"", &format!("stdout_file = \"fib.out\"{expected}"));
        let mut suite = parse("s", "suites/s/suite.toml", &text)?;
        let Workload::Program(program) = suite.benchmarks.remove(0).work else {
            panic!("a program")
        };
        Ok::<_, Mistakes>((program.repeat, program.expected.exit))
    };
    assert_eq!(program("", "").unwrap(), (1, 0));
    assert_eq!(program("repeat = 200", ", exit = 1").unwrap(), (200, 1));
    assert!(program("repeat = 0", "").is_err() && program("", ", exit = 256").is_err());
}

const CRATES: &str = r#"
what = "compilers"
image = "rust"
[source]
compiler = true
[axes]
profile = ["check", "debug", "doc"]
scenario = ["full", "incr-patched"]
threads = ["1", "2"]
pipelining = ["on", "off"]
[[crate]]
crate = "syn"
version = "2.0.1"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
why = "parses"
graph = true
[[crate]]
name = "deep"
path = "synthetic/deep"
tier = "secondary"
why = "traits"
patch = "patches/deep.patch"
"#;

#[test]
fn a_crate_is_a_case_of_its_own_and_one_of_its_graph() {
    let suite = parse("s", "suites/s/suite.toml", CRATES).unwrap();
    let cases_of = |name: &str| suite.cases().iter().filter(|c| c.benchmark == name).count();
    assert_eq!(
        [cases_of("syn"), cases_of("syn.graph"), cases_of("deep"), cases_of("deep.graph")],
        [12, 12, 12, 0]
    );
    assert_eq!(suite.build, None);
    let extra = "why = \"parses\"\ntypical_s = 1.5\ntypical_graph_s = 20";
    let timed = CRATES.replace("why = \"parses\"", extra);
    let timed = parse("s", "suites/s/suite.toml", &timed).unwrap();
    let typical_ms = |name: &str| timed.benchmark(name).unwrap().typical_ms;
    assert_eq!(["syn", "syn.graph", "deep"].map(typical_ms), [Some(1500), Some(20_000), None]);
    let selection = |axes: &[(&str, &[&str])], benchmarks: &[&str], priority| Selection {
        axes: axes
            .iter()
            .map(|(a, v)| (a.to_string(), v.iter().map(ToString::to_string).collect()))
            .collect(),
        benchmarks: benchmarks.iter().map(ToString::to_string).collect(),
        priority,
    };
    let selection_text = |selection: &Selection, cores| match suite.select(selection, cores) {
        Ok(selected) => {
            let cases = selected.cases.iter().map(ToString::to_string);
            let left = selected.left_out.iter().map(|(why, n)| format!("{n} left out: {why}"));
            cases.chain(left).collect::<Vec<_>>().join("\n")
        }
        Err(unknown) => unknown.join("\n"),
    };
    let small = [("profile", &["check", "doc"][..])];
    insta::assert_snapshot!(selection_text(&selection(&small, &["d*"], None), 1));
    insta::assert_snapshot!(selection_text(&selection(&[], &["syn*"], Some(Priority::Primary)), 2));
    let unknown = selection(&[("thread", &["1"]), ("profile", &["opt"])], &["sny"], None);
    insta::assert_snapshot!(selection_text(&unknown, 2));
    let none = selection(&[("scenario", &["incr-patched"])], &["syn"], None);
    insta::assert_snapshot!(selection_text(&none, 2));
}

#[test]
fn all_mistakes_of_crates_at_once() {
    let text = CRATES
        .replace("compiler = true", "crate = \"rustc\"")
        .replace(
            "[axes]",
            "[build]\ncommand = [\"x\"]\noutputs = { a = \"a\" }\n[axes]\nspeed = [\"1\"]",
        )
        .replace("\"2\"]", "\"many\"]")
        .replace("\"off\"", "\"of\"")
        .replace("version = \"2.0.1\"", "version = \"^2\"")
        .replace("name = \"deep\"", "name = \"syn\"")
        .replace("why = \"traits\"", "why = \"traits\"\ntypical_s = 0\ntypical_graph_s = 3")
        .replace("patches/deep", "../deep");
    insta::assert_snapshot!(parse("s", "suites/s/suite.toml", &text).unwrap_err());
}

#[test]
fn all_mistakes_at_once() {
    let text = GOOD
        .replace("crate = \"wasmi_cli\"", "git = \"--upload-pack=evil\"")
        .replace("max-rss", "max-rs")
        .replace("release/engine", "../engine")
        .replace("{level}", "{levle}")
        .replace("what = \"recursion\"\n", "whta = \"recursion\"\n");
    insta::assert_snapshot!(parse("s", "suites/s/suite.toml", &text).unwrap_err());
}

#[test]
fn a_syntax_error_does_not_hide_the_other_mistakes() {
    let text = "what = \"x\nimage = \"NO\"\n[source]\ngit = \"ext::sh -c x\"\n";
    insta::assert_snapshot!(parse("s", "suites/s/suite.toml", text).unwrap_err());
}

#[test]
fn git_locations() {
    for good in ["https://example.org/x.git", "ssh://git@h/x", "../repo", "/srv/x", "file:///x"] {
        assert!(check_git_location(good).is_ok(), "{good}");
    }
    for bad in ["", "-x", "--upload-pack=x", "ext::sh", "https://-x", "ftp://x", "a\nb"] {
        assert!(check_git_location(bad).is_err(), "{bad}");
    }
}
