//! Names and words from outside, as hostile as each place lets them be: refs for git and the shell,
//! values of an axis for SQL, HTML and Markdown, logs for the terminal. Each lands as text and is
//! found again under its name. (reports/tests/it/hostile.rs has the same for every text of a report.)

use std::process::Command;

use dyno_reports::escape;
use serde_json::Value;

use crate::world::{Told, World, embedded, git};

/// What git lets a branch be called.
const REFS: &[&str] = &[
    "$(touch${IFS}pwned)",
    "`touch${IFS}pwned`",
    ";touch${IFS}pwned;",
    "|tee<pwned>pwned",
    "o'clock",
    "';DROP(TABLE);--",
    "\"quoted\"",
    "<script>alert(1)</script>",
    "<!--",
    "{{view}}{%raw%}",
    "user\u{202e}txt\u{200b}",
    "#12@team,org/repo#1",
    "%1b31m",
    "&lt;b&gt;",
    "漢字🦀",
    "a-b--c",
    "refs/heads/x",
];

/// What is no commit, whatever git makes of it, and no option.
const REFUSED: &[&str] = &[
    "--upload-pack=touch pwned",
    "-x",
    "a..b",
    "v1~7",
    "v1:program",
    "v1@{70}",
    ":program",
    "--all",
    "--output=pwned",
    "a b",
    "a\nb",
    "\u{1b}[31mred\u{1b}]0;title\u{7}",
    "\u{9b}31m",
    "x.lock",
    "../../etc/passwd/",
    "*",
    "a\\b",
    "",
];

/// Whether nothing in `text` moves a terminal or hides from its reader.
fn calm(text: &str) -> bool {
    text.lines().all(|line| escape::line(line) == line)
}

fn check(told: &Told, code: i32) {
    assert_eq!(told.code, Some(code), "{told:?}");
    assert!(calm(&told.out) && calm(&told.err), "{told:?}");
}

#[test]
fn hostile_refs_are_names_or_refused() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let target = world.path().join("target");
    for name in REFS {
        git(&target, &["branch", "--", name, "v2"]);
        let told = world.dyno(&["run", "made", "v1", name, "--plan"]);
        check(&told, 0);
        assert!(told.out.contains("job "), "{name}: {told:?}");
    }
    for name in REFUSED {
        let told = world.dyno(&["run", "made", "--plan", "--", "v1", name]);
        check(&told, 2);
        assert!(told.err.contains("is no commit of"), "{name:?}: {told:?}");
    }
    for location in ["ext::sh -c touch% pwned", "--upload-pack=touch pwned", "-x", "fd::17"] {
        world.edit("suites/made/suite.toml", "../../target", location);
        let told = world.dyno(&["run", "made", "v1", "v2", "--plan"]);
        check(&told, 2);
        assert!(told.err.contains("is not a source"), "{location}: {told:?}");
        world.edit("suites/made/suite.toml", location, "../../target");
    }
    for folder in [world.path(), &target, &world.cache()] {
        assert!(!folder.join("pwned").exists(), "{}", folder.display());
    }
}

#[test]
fn hostile_words_are_words_everywhere() {
    if !embedded() {
        return;
    }
    let world = World::new();
    // Names that are kept: of a commit, of an axis' values. And logs: of a build, of a program.
    let suite = "suites/made/suite.toml";
    let values =
        ["o'clock'; DROP TABLE runs; --", "<b>|`@team` \u{202e}drow", "${HOME} $(id) {{x}}"];
    let axis = format!("[axes]\nstyle = {values:?}\n[[benchmark]]").replace("\\u{202e}", "\\u202e");
    world.edit(suite, "[[benchmark]]", &axis);
    let shouting = format!("attack shout\n{}", crate::world::BUILD);
    world.commit("v3", &shouting, "print hello\n");
    world.commit("v4", "attack shout\nexit 3\n", "");
    world.commit("v5", &shouting, "attack shout\nexit 3\n");
    let target = world.path().join("target");
    let name = "o'clock<script>`@team`|\u{202e}drow$(id);--";
    let (fails, works) = (format!("{name}-fails"), format!("{name}-works"));
    git(&target, &["branch", "--", &works, "v3"]);
    git(&target, &["branch", "--", &fails, "v5"]);

    let told = world.dyno(&["run", "made", "v1", &works, "--rounds", "2", "--verbose"]);
    check(&told, 0);
    assert!(told.err.contains("␛[31mred"), "the build's lines are shown: {told:?}");
    let told = world.dyno(&["run", "made", "v4", &fails, "--rounds", "1"]);
    check(&told, 5);
    assert!(told.out.contains("␛[31mred") && told.out.contains("\\u{202e}"), "{told:?}");

    for (ask, code) in [(["compare", "v1", &works], 0), (["compare", "v4", &fails], 5)] {
        for form in [&[][..], &["--markdown"]] {
            check(&world.dyno(&[&ask[..], form].concat()), code);
        }
    }
    // Each number's own SQL finds it again.
    let told = world.dyno(&["compare", "v1", &works, "--json"]);
    let view: Value = serde_json::from_str(&told.out).unwrap();
    let lists = ["regressed", "improved", "unchanged", "inconclusive", "not_deciding"];
    let rows = || lists.iter().flat_map(|list| view[list].as_array().unwrap());
    for value in values {
        let of = format!("style={value}");
        let row = rows().find(|row| row["config"] == of.as_str() && row["metric"] == "wall");
        let row = row.unwrap_or_else(|| panic!("{value}: {}", told.out));
        let found = world.dyno(&["sql", "--output", "json", row["sql"].as_str().unwrap()]);
        assert_eq!((found.code, found.out.lines().count()), (Some(0), 1), "{found:?}");
        // As does the command that explains it, read back by a shell.
        let explain =
            row["explain"].as_str().unwrap().replacen("dyno", env!("CARGO_BIN_EXE_dyno"), 1);
        let explain = explain.replace("[world]", &world.path().display().to_string());
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &explain])
            .envs(world.command(&[]).get_envs().filter_map(|(k, v)| Some((k, v?))));
        let explained = world.told(shell);
        check(&explained, 0);
    }
    for query in ["SELECT * FROM runs", "SELECT * FROM samples LIMIT 3", "\\x"] {
        check(&world.dyno(&["sql", query]), 0);
    }
    // What is in the reports' files is tried in `reports`; here only that they say these words.
    let reports = world.path().join("data/dyno/reports");
    let mut pages = 0;
    for report in std::fs::read_dir(reports).unwrap().flatten() {
        for file in ["report.html", "comment.md"] {
            let text = std::fs::read_to_string(report.path().join(file)).unwrap();
            assert!(calm(&text), "{file}: {text}");
            let span = "`o'clock<script>'@team'";
            assert_eq!(text.contains("o'clock<script>"), text.contains(span), "{file}: {text}");
            assert!(file != "report.html" || !text.contains("<script>'"), "{file}: {text}");
            pages += 1;
        }
    }
    assert_eq!(pages, 4);
}
