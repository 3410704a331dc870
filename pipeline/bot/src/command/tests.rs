//! What is a command, what is a mistake, and what is neither.

use proptest::prelude::*;

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The command in its canonical form, or `-`, or the mistakes.
fn read(body: &str) -> String {
    match parse(body, "dyno") {
        Ok(None) => "-".into(),
        Ok(Some(command)) => command.to_string(),
        Err(misread) => {
            let nearest = misread.nearest.map(|nearest| format!("\nnearest: {nearest}"));
            format!("{}{}", misread.mistakes, nearest.unwrap_or_default())
        }
    }
}

#[test]
fn a_line_of_plain_text_is_a_command() {
    for (body, expected) in [
        ("@dyno run abcdef1", "run abcdef1"),
        ("@dyno run ABCDEF1", "run abcdef1"),
        ("@Dyno run abcdef1", "run abcdef1"),
        ("@dyno: help", "help"),
        ("@dyno, status  ", "status"),
        ("   @dyno\tcancel", "cancel"),
        ("Please.\r\n\r\n@dyno unroll\r\n", "unroll"),
        ("Looks good.\n@dyno self suite=wasmi\nThanks!", "self suite=wasmi"),
        ("@dyno status\\\nthanks", "status"),
        ("@dyno status  \nthanks", "status"),
        ("> what he said\n\n@dyno help", "help"),
        ("<details>\nx\n</details>\n\n@dyno help", "help"),
        ("a<br>b <img src=\"x>\"> c\n\n@dyno help", "help"),
        ("`@dyno cancel` ends it.\n\n@dyno status", "status"),
        (
            "@dyno run base=main hosts=arm64,x86_64 suite=wasmi threads=4,1,4 only=*fib*,a_b_c abcdef1 policy=strict",
            "run suite=wasmi hosts=arm64,x86_64 policy=strict base=main threads=4,1 only=*fib*,a_b_c abcdef1",
        ),
        ("@dyno run only=*fib* abcdef1", "run only=*fib* abcdef1"),
    ] {
        assert_eq!(read(body), expected, "{body:?}");
    }
}

#[test]
fn what_is_quoted_shown_or_about_somebody_else_is_none() {
    for body in [
        "",
        "run abcdef1",
        "Ask @dyno run abcdef1",
        "@dynos run abcdef1",
        "@dyno-2 run abcdef1",
        "@dyno/team help",
        "@dyno's comment is wrong",
        "@dyn\u{43e} help",
        "> @dyno help",
        "> a\n@dyno help",
        "> [!NOTE]\n> @dyno help",
        "`@dyno help`",
        "``x\n@dyno help\n``",
        "```\n@dyno help\n```",
        "~~~\n@dyno help",
        "    @dyno help",
        "\t@dyno help",
        "- @dyno help",
        "1. a\n\n   @dyno help",
        "- [ ] @dyno help",
        "# @dyno help",
        "@dyno help\n---",
        "| a |\n|---|\n| @dyno help |",
        "[^1]: @dyno help\n\n[^1]",
        "<!-- @dyno help -->",
        "<!--\n\n@dyno help\n\n-->",
        "x <!--\n@dyno help\n-->",
        "<pre>\n\n@dyno help\n\n</pre>",
        "<details>\n\n@dyno help\n\n</details>",
        "<blockquote title=\"</blockquote>\">\n\n@dyno help\n\n</blockquote>",
        "x <b>\n@dyno help\n</b>",
        "**@dyno help**",
        "*a\n@dyno help\nb*",
        "~~@dyno help~~",
        "[@dyno help](https://example.org)",
        "![\n@dyno help\n](x)",
        "\\@dyno help",
        "&#64;dyno help",
        "$$\n@dyno help\n$$",
        "[a]: x '\n@dyno help\n'",
    ] {
        assert_eq!(read(body), "-", "{body:?}");
    }
    let long = format!("@dyno help\n\n{}", "x".repeat(BODY_BYTES_MAX));
    assert_eq!(read(&long), "-");
}

#[test]
fn all_mistakes_at_once_with_the_nearest_command() {
    let bodies = [
        "@dyno",
        "@dyno thanks a lot",
        "@dyno rnu siute=wasmi abcdef1",
        "@dyno RUN abcdef1",
        "@dyno run",
        "@dyno run suite=Wasmi hosts=a,,b threads=0 base=-x only=` abcdef1",
        "@dyno run abc abcdef1 abcdef2 suite=a suite=b",
        "@dyno run `abcdef1`",
        "@dyno run [abcdef1](x) \\* &amp;",
        "@dyno self base=main abcdef1",
        "@dyno status please",
        "@dyno run abcdef1\n@dyno cancel",
        "@dyno r\u{443}n abcdef1",
        "@dyno run abcdef1\u{202e}",
        "@dyno\u{200b}run abcdef1",
        "@dyno run\u{a0}abcdef1",
    ];
    let read: Vec<String> = bodies.iter().map(|body| format!("{body:?}\n{}", read(body))).collect();
    insta::assert_snapshot!(read.join("\n\n"));
}

/// The examples of the manual are commands.
#[test]
fn the_manuals_commands_are_right() {
    let manual = include_str!("../../../../docs/bot.md");
    let examples = manual.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    for example in examples.lines() {
        assert_eq!(format!("@dyno {}", read(example)), example);
    }
    for (form, _) in Command::FORMS {
        let name = form.split(' ').next().unwrap();
        assert!(Command::NAMES.contains(&name) && manual.contains(&format!("| `{name}")), "{name}");
    }
}

#[test]
fn sizes_are_bounded() {
    let long = format!("@dyno run only={} abcdef1", "a".repeat(1000));
    assert!(read(&long).contains("a command of 1023 bytes"), "{}", read(&long));
    let many = format!("@dyno run hosts={} {COMMIT}", vec!["a"; 33].join(","));
    assert_eq!(read(&many), format!("run hosts=a {COMMIT}"));
    let hosts: Vec<String> = (0..33).map(|index| format!("a{index}")).collect();
    assert!(read(&format!("@dyno run hosts={} {COMMIT}", hosts.join(","))).contains("1 to 32"));
    let misread = parse(&"@dyno x\n".repeat(1000), "dyno").unwrap_err();
    assert_eq!(misread.mistakes.list.len(), MISTAKES_MAX);
    let long_word = parse(&format!("@dyno {}", "x".repeat(900)), "dyno").unwrap_err();
    assert!(long_word.mistakes.list[0].message.len() < 100);
}

fn scope() -> impl Strategy<Value = Scope> {
    let name = || "[a-z0-9][a-z0-9._-]{0,20}";
    let some = proptest::option::of;
    let names = proptest::collection::vec(name(), 0..4);
    let threads = proptest::collection::vec(1..=4096_u32, 0..4);
    let only = proptest::collection::vec("[A-Za-z0-9._*?-]{1,20}", 0..4);
    (some(name()), names, some(name()), threads, only).prop_map(
        |(suite, hosts, policy, threads, only)| {
            let mut scope = Scope { suite, hosts, policy, threads, only };
            let mut seen = std::collections::BTreeSet::new();
            scope.hosts.retain(|item| seen.insert(item.clone()));
            seen.clear();
            scope.only.retain(|item| seen.insert(item.clone()));
            let mut seen = std::collections::BTreeSet::new();
            scope.threads.retain(|item| seen.insert(*item));
            scope
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let base = proptest::option::of("[a-zA-Z0-9][a-zA-Z0-9_-]{0,10}(/[a-zA-Z0-9_-]{1,10}){0,2}");
    let run = (scope(), base, "[0-9a-f]{7,64}").prop_map(|(scope, base, commit)| {
        let commit = NamedCommit::new(&commit).unwrap();
        Command::Run(Run { scope, base, commit })
    });
    let fixed = [Command::Cancel, Command::Status, Command::Unroll, Command::Help];
    prop_oneof![
        4 => run,
        2 => scope().prop_map(Command::SelfCheck),
        1 => proptest::sample::select(fixed.to_vec()),
    ]
}

const PIECES: &[&str] = &[
    "@dyno run abcdef1",
    "@dyno help",
    "@dyno",
    "run",
    " ",
    "\n",
    "\r\n",
    "\r",
    "\n\n",
    "`",
    "```",
    "~~~",
    "    ",
    "\t",
    "> ",
    "- ",
    "1. ",
    "# ",
    "---",
    "<!--",
    "-->",
    "<b>",
    "</b>",
    "<details>",
    "</details>",
    "<pre>",
    "[",
    "](x)",
    "*",
    "**",
    "_",
    "~~",
    "\\",
    "&#64;",
    "|",
    "$",
    "$$",
    "[^1]",
    "[^1]: ",
    "\u{200b}",
    "\u{202e}",
    "é",
    "漢",
    "a",
    "\0",
];

fn markdown() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => proptest::sample::select(PIECES).prop_map(str::to_string),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// `text` with `prefix` before each of its lines.
fn prefixed(text: &str, prefix: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.split('\n').map(|line| format!("{prefix}{line}\n")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_command_formats_and_parses_back(command in command()) {
        // A list of 33 benchmarks or a line of 1000 bytes is none.
        let body = format!("@dyno {command}");
        prop_assume!(body.len() <= 1000);
        prop_assert_eq!(parse(&body, "dyno").unwrap(), Some(command));
    }

    #[test]
    fn parsing_never_panics(body in markdown()) {
        if let Err(misread) = parse(&body, "dyno") {
            prop_assert!(!misread.mistakes.list.is_empty());
            for mistake in &misread.mistakes.list {
                prop_assert!(mistake.message.chars().all(|c| c == '…' || (' '..='~').contains(&c)));
                prop_assert!(body.is_char_boundary(mistake.span.start), "{mistake:?}");
            }
        }
    }

    #[test]
    fn what_stands_in_a_quote_or_in_code_is_no_command(body in markdown()) {
        let fence = "`".repeat(body.len() + 3);
        for shown in [
            prefixed(&body, "> "),
            prefixed(&body, "    "),
            format!("{fence}\n{body}\n{fence}\n"),
            format!("{fence} {} {fence}", body.replace(['\n', '\r'], " ")),
            format!("<!-- {} -->", body.replace("--", "")),
        ] {
            prop_assert_eq!(parse(&shown, "dyno"), Ok(None), "{}", shown);
        }
    }
}
