//! Conversations as they are read.

mod hostile;

use super::answer::{Answer, answer};
use super::*;
use crate::command::{self, NamedCommit, Run};
use crate::configuration::{Level, Repository, RepositoryName, project};
use crate::outbox::{Check, CheckState, Say};
use crate::permission::Refusal;

const HOUR_US: i64 = 3_600_000_000;
/// 2026-11-28 00:00 UTC.
const NOW_US: i64 = 1_795_824_000_000_000;

fn commit(digit: char) -> CommitId {
    digit.to_string().repeat(40).parse().unwrap()
}

fn subject() -> Subject {
    Subject {
        bot: "dyno-bot".into(),
        suite: "wasmi".into(),
        policy: "default".into(),
        is_self: false,
        scope: Scope::default(),
    }
}

fn rules() -> Repository {
    Repository {
        name: RepositoryName::new("acme/widget").unwrap(),
        suites: vec!["wasmi".into()],
        hosts: vec!["x86_64".into()],
        policy: "default".into(),
        accounts: [("alice".to_string(), 1001)].into(),
        permission: Level::Write,
    }
}

fn conversation(parts: Vec<(&str, PartState)>) -> Conversation {
    let parts =
        parts.into_iter().map(|(class, state)| Part { class: class.into(), state }).collect();
    Conversation {
        subject: subject(),
        request: "0123456789abcdef".into(),
        by: Account { id: 1001, login: "alice".into() },
        command: Command::Run(Run {
            scope: Scope::default(),
            base: None,
            commit: NamedCommit::new("bbbbbbb").unwrap(),
        }),
        commit: Some(commit('b')),
        baseline: commit('a'),
        trust: Trust::Untrusted,
        head: commit('b'),
        parts,
        comparison: None,
        report_url: Some("https://perf.example/r/1.html".into()),
    }
}

fn comparison(conclusion: Conclusion) -> Comparison {
    Comparison {
        body: format!(
            "<!-- dyno report: wasmi -->\n### {}: 1 of 2 series.\n\n| case | effect |\n|---|---|\n\
             | `fib` | +1 % |\n\n<details><summary>Unchanged: 1</summary>\n\n- `json`\n\n</details>\n",
            conclusion.name()
        ),
        conclusion,
        gate_fails: conclusion == Conclusion::Regressed,
        has_failures: false,
        sentence: format!("{}: 1 of 2 series.", conclusion.name()),
        zeros: Vec::new(),
    }
}

fn running() -> PartState {
    PartState::Running {
        host: "epyc".into(),
        since_us: NOW_US,
        expected_us: Some(NOW_US + HOUR_US),
    }
}

fn queued() -> PartState {
    PartState::Queued { place: 2, expected_us: Some(NOW_US + HOUR_US) }
}

fn measured() -> PartState {
    PartState::Measured { host: "epyc".into() }
}

fn silent() -> PartState {
    PartState::Silent { since_us: NOW_US, refusals: vec![] }
}

fn not_built(log: &str) -> PartState {
    let [host, side, step] = ["epyc", "candidate", "build"].map(String::from);
    PartState::NotBuilt { host, side, step, log: log.into() }
}

fn failed() -> PartState {
    PartState::Failed { why: "the image has no `valgrind`".into(), log: String::new() }
}

fn cancelled() -> PartState {
    PartState::Cancelled { by: "alice".into() }
}

fn body(say: &Say) -> &str {
    let Say::Comment { body, .. } = say else { panic!("{say:?}") };
    body
}

fn check(conversation: &Conversation, project: &Project) -> Check {
    let Say::Check(check) = conversation.check(project) else { panic!() };
    check
}

#[test]
fn each_state_has_its_words() {
    let waiting = PartState::Waiting { what: "the archive".into(), until_us: NOW_US };
    let refusals = vec![("epyc".into(), "it has 1 core".into())];
    let not_taken = PartState::Silent { since_us: NOW_US, refusals };
    let missing = vec![Refusal::NotListed { login: "alice".into() }];
    let next = PartState::Queued { place: 0, expected_us: None };
    let mut all = vec![
        conversation(vec![("x86_64", waiting)]),
        conversation(vec![("x86_64", queued()), ("aarch64", next)]),
        conversation(vec![("x86_64", running()), ("aarch64", queued())]),
        conversation(vec![("x86_64", silent()), ("aarch64", not_taken)]),
        conversation(vec![("x86_64", not_built("error[E0308]: mismatched types\n"))]),
        conversation(vec![("x86_64", failed()), ("aarch64", cancelled())]),
        conversation(vec![("x86_64", cancelled())]),
        conversation(vec![("x86_64", PartState::Refused { missing })]),
    ];
    let mut partial = conversation(vec![("x86_64", measured()), ("aarch64", queued())]);
    partial.comparison = Some(comparison(Conclusion::Improved));
    let mut verdict = conversation(vec![("x86_64", measured()), ("aarch64", failed())]);
    verdict.comparison = Some(comparison(Conclusion::Regressed));
    verdict.comparison.as_mut().unwrap().zeros = vec![("fib".into(), "wall".into())];
    (verdict.head, verdict.report_url) = (commit('c'), None);
    let mut against_itself = conversation(vec![("x86_64", measured())]);
    against_itself.comparison = Some(comparison(Conclusion::Unchanged));
    (against_itself.commit, against_itself.trust) = (None, Trust::Trusted);
    against_itself.command = Command::SelfCheck(Scope::default());
    all.extend([partial, verdict, against_itself]);
    let text = "[wording]\nregressed = \"Say why it is worth it, @alice.\"\n";
    let project = project::parse("p", text, &rules()).unwrap();
    let texts: Vec<String> = all
        .iter()
        .map(|c| {
            let Check { state, title, summary, .. } = check(c, &project);
            let body = body(&c.comment(&project, false)).to_string();
            format!("{:?}\n{body}-- check: {state:?}, {title}\n{summary}\n", c.stage())
        })
        .collect();
    insta::assert_snapshot!(texts.join("==========\n"));
}

#[test]
fn answers_have_their_words() {
    let misread = command::parse("@dyno-bot rnu siute=wasmi abcdef1", "dyno-bot").unwrap_err();
    let unknown = command::parse("@dyno-bot thanks\u{202e}", "dyno-bot").unwrap_err();
    let rules = rules();
    let missing = [
        Refusal::NotListed { login: "eve".into() },
        Refusal::NotTheHead { named: "abcdef1".into(), head: commit('b') },
    ];
    let wrong = project::parse(".github/dyno.toml", "suite = 1\nignore = 2\n", &rules).unwrap_err();
    let asked = [conversation(vec![("x86_64", running()), ("aarch64", queued())])];
    let answers = [
        Answer::Misread(&misread),
        Answer::Misread(&unknown),
        Answer::Refused { missing: &missing, rules: &rules },
        Answer::Help,
        Answer::Status(&[]),
        Answer::Status(&asked),
        Answer::Cancelled(0),
        Answer::Cancelled(2),
        Answer::Unrolled(&[]),
        Answer::Unrolled(&[12, 13]),
        Answer::Ignored,
        Answer::Configuration(&wrong),
    ];
    let texts: Vec<String> =
        answers.iter().map(|a| body(&answer("dyno-bot", "eve", 77, a)).to_string()).collect();
    insta::assert_snapshot!(texts.join("==========\n"));
}

#[test]
fn a_check_says_what_the_repository_wants() {
    let gate = Project { fail_on_regression: true, ..Project::default() };
    let neutral = Project::default();
    let whole = |conclusion| {
        let mut whole = conversation(vec![("x86_64", measured())]);
        whole.comparison = Some(comparison(conclusion));
        whole
    };
    let mut behind = whole(Conclusion::Unchanged);
    behind.head = commit('c');
    let mut failing = whole(Conclusion::Unchanged);
    failing.comparison.as_mut().unwrap().has_failures = true;
    let mut part_failed = conversation(vec![("x86_64", measured()), ("aarch64", failed())]);
    part_failed.comparison = Some(comparison(Conclusion::Unchanged));
    // Whoever may not ask may cancel: what is left does not pass for the whole.
    let mut part_cancelled = conversation(vec![("x86_64", measured()), ("aarch64", cancelled())]);
    part_cancelled.comparison = Some(comparison(Conclusion::Unchanged));
    let comment = part_cancelled.comment(&neutral, false);
    assert!(body(&comment).contains("- `aarch64`: "), "{}", body(&comment));
    let mut partial = conversation(vec![("x86_64", measured()), ("aarch64", queued())]);
    partial.comparison = Some(comparison(Conclusion::Regressed));
    for (what, conversation, expected, without_gate) in [
        ("regressed", whole(Conclusion::Regressed), CheckState::Failure, CheckState::Neutral),
        ("improved", whole(Conclusion::Improved), CheckState::Success, CheckState::Neutral),
        ("unchanged", whole(Conclusion::Unchanged), CheckState::Success, CheckState::Neutral),
        ("inconclusive", whole(Conclusion::Inconclusive), CheckState::Neutral, CheckState::Neutral),
        ("not the head", behind, CheckState::Neutral, CheckState::Neutral),
        ("newly failing", failing, CheckState::Neutral, CheckState::Neutral),
        ("a class failed", part_failed, CheckState::Neutral, CheckState::Neutral),
        ("a class was cancelled", part_cancelled, CheckState::Neutral, CheckState::Neutral),
        ("a class is open", partial, CheckState::InProgress, CheckState::InProgress),
        (
            "queued",
            conversation(vec![("x86_64", queued())]),
            CheckState::Queued,
            CheckState::Queued,
        ),
        (
            "cancelled",
            conversation(vec![("x86_64", cancelled())]),
            CheckState::Cancelled,
            CheckState::Cancelled,
        ),
    ] {
        assert_eq!(check(&conversation, &gate).state, expected, "{what}");
        assert_eq!(check(&conversation, &neutral).state, without_gate, "{what}");
        assert_eq!(check(&conversation, &neutral).head, conversation.head, "{what}");
    }
}

#[test]
fn subjects_keep_apart() {
    let narrowed = |change: fn(&mut Subject)| {
        let mut subject = subject();
        change(&mut subject);
        (subject.check_name(), subject.marker())
    };
    let all = [
        narrowed(|_| {}),
        narrowed(|s| s.bot = "other".into()),
        narrowed(|s| s.suite = "rustc".into()),
        narrowed(|s| s.policy = "strict".into()),
        narrowed(|s| s.suite = "a-b".into()),
        narrowed(|s| s.suite = "a_b".into()),
        narrowed(|s| s.suite = "a--b".into()),
        narrowed(|s| s.is_self = true),
        narrowed(|s| s.scope.hosts = vec!["a".into(), "b".into()]),
        narrowed(|s| s.scope.only = vec!["a".into(), "b".into()]),
        narrowed(|s| s.scope.threads = vec![1, 4]),
    ];
    assert_eq!(all[0].0, "dyno-bot: wasmi");
    assert_eq!(all[3].0, "dyno-bot: wasmi (strict)");
    let names: std::collections::BTreeSet<&String> = all.iter().map(|(name, _)| name).collect();
    let markers: std::collections::BTreeSet<&String> = all.iter().map(|(_, m)| m).collect();
    assert_eq!((names.len(), markers.len()), (all.len(), all.len()));
    for (_, marker) in &all {
        assert_eq!(marker.matches("--").count(), 2, "{marker}");
    }
}

#[test]
fn labels_are_those_of_all_requests() {
    let text = "[labels]\nregressed = \"slow\"\nimproved = \"fast\"\nwaiting = \"wait\"\n";
    let project = project::parse("p", text, &rules()).unwrap();
    let mut slow = conversation(vec![("x86_64", measured())]);
    slow.comparison = Some(comparison(Conclusion::Regressed));
    let mut fast = slow.clone();
    fast.comparison = Some(comparison(Conclusion::Improved));
    let open = conversation(vec![("x86_64", running())]);
    let gone = conversation(vec![("x86_64", cancelled())]);
    for (all, expected) in [
        (vec![slow.clone(), open.clone()], vec!["slow", "wait"]),
        (vec![slow, fast], vec!["fast", "slow"]),
        (vec![gone], vec![]),
        (vec![], vec![]),
    ] {
        let outcomes: Vec<Outcome> = all.iter().map(Conversation::outcome).collect();
        let Say::Labels { on, managed } = labels(&project, &outcomes) else { panic!() };
        assert_eq!(on.iter().collect::<Vec<_>>(), expected);
        assert_eq!(managed.len(), 3);
    }
}

#[test]
fn it_is_silent_where_nothing_changed() {
    let mut unchanged = conversation(vec![("x86_64", measured())]);
    unchanged.comparison = Some(comparison(Conclusion::Unchanged));
    let mut regressed = unchanged.clone();
    regressed.comparison = Some(comparison(Conclusion::Regressed));
    let mut failing = unchanged.clone();
    failing.comparison.as_mut().unwrap().has_failures = true;
    for (conversation, is_update) in [
        (unchanged, true),
        (regressed, false),
        (failing, false),
        (conversation(vec![("x86_64", queued())]), true),
        (conversation(vec![("x86_64", silent())]), false),
        (conversation(vec![("x86_64", failed())]), false),
    ] {
        for is_silent in [false, true] {
            let say = conversation.comment(&Project::default(), is_silent);
            let Say::Comment { is_update: found, .. } = say else { panic!() };
            assert_eq!(found, is_silent && is_update, "{:?}", conversation.stage());
        }
    }
}

/// A comment of 5,000 series, and of logs without end, is within its size, and says what matters.
#[test]
fn a_comment_is_within_its_size() {
    let rows: String = (0..5000).map(|n| format!("| `é{n}` | +1 % |\n")).collect();
    let sections: String = (0..40)
        .map(|n| {
            format!("<details><summary>{n}</summary>\n\n{}\n\n</details>\n\n", "x ".repeat(1500))
        })
        .collect();
    for details in [rows.clone(), format!("\n\nText.\n\n{sections}"), "é".repeat(100_000)] {
        let parts = (0..32).map(|_| ("aarch64", not_built(&"log\n".repeat(10_000)))).collect();
        let mut long = conversation(parts);
        let mut shown = comparison(Conclusion::Regressed);
        shown.body = format!("<!-- m -->\n### Regressed: all.\n\n| a | b |\n|---|---|\n{details}");
        long.comparison = Some(shown);
        let say = long.comment(&Project::default(), false);
        let body = body(&say);
        assert!(body.len() <= BODY_BYTES_MAX, "{}", body.len());
        assert!(body.starts_with("<!-- dyno~bot: wasmi -->\n\n### Regressed: all.\n"), "{body}");
        assert!(body.contains("[the full report](https://perf.example/r/1.html)"));
        assert!(body.trim_end().ends_with("</sub>"), "the foot stays");
        assert_eq!(body.matches("<details>").count(), body.matches("</details>").count());
        assert_eq!(body.matches("```").count() % 2, 0);
    }
}
