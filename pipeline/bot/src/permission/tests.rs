//! A pull request, and everything that somebody may do to it.

use std::collections::BTreeMap;

use super::*;
use crate::command::{Run, Scope};
use crate::configuration::RepositoryName;

const OWN: u64 = 1;
const ALICE: u64 = 1001;
const BOB: u64 = 1002;
const STRANGER: u64 = 6666;
/// When the command was given.
const MADE_US: i64 = 1_000_000;

/// A commit of 40 times the digit.
fn commit(digit: char) -> CommitId {
    digit.to_string().repeat(40).parse().unwrap()
}

fn rules() -> Repository {
    Repository {
        name: RepositoryName::new("acme/widget").unwrap(),
        suites: vec!["wasmi".into()],
        hosts: vec!["x86_64".into()],
        policy: "default".into(),
        accounts: BTreeMap::from([("alice".into(), ALICE), ("bob".into(), BOB)]),
        permission: Level::Write,
    }
}

fn run(named: &str) -> Command {
    let commit = NamedCommit::new(named).unwrap();
    Command::Run(Run { scope: Scope::default(), base: None, commit })
}

/// Alice asks for the head of a stranger's fork.
fn asked(command: Command) -> Asked {
    let author = Some(Account { id: ALICE, login: "alice".into() });
    Asked { author, made_us: MADE_US, changed_us: MADE_US, is_known: false, command }
}

fn facts() -> Facts {
    Facts {
        level: Level::Write,
        pull: PullRequest {
            author: Some(STRANGER),
            repository: 10,
            head_repository: Some(20),
            head: commit('b'),
            commits: vec![commit('a'), commit('b')],
            pushed_us: Some(MADE_US - 1),
            reviews: Vec::new(),
        },
        is_base_own: true,
        open_in_pull: 0,
        open_of_account: 0,
    }
}

fn review(author: Option<u64>, of: char) -> Review {
    Review { author, level: Level::Write, is_approval: true, commit: commit(of) }
}

const LIMITS: Limits = Limits { open_per_pull_request: 2, open_per_account: 3 };

fn decided(asked: &Asked, facts: &Facts) -> Decision {
    decide(OWN, &rules(), LIMITS, &rules().suites, asked, facts)
}

/// What came of it, in few words.
fn word(decision: &Decision) -> String {
    match decision {
        Decision::Ignore(silence) => format!("ignored: {silence:?}"),
        Decision::Refuse(missing) => {
            let sentences: Vec<String> = missing.iter().map(Refusal::sentence).collect();
            format!("refused: {}", sentences.join(" "))
        }
        Decision::Accept(Grant { commit: None, .. }) => "accepted".into(),
        Decision::Accept(Grant { commit: Some(granted), .. }) => {
            let reviewed = if granted.is_reviewed { ", reviewed" } else { "" };
            format!("accepted: {} {}{reviewed}", &granted.commit.hex()[..3], granted.trust.name())
        }
    }
}

/// A change to a comment and to what is true.
type Change = fn(&mut Asked, &mut Facts);

#[test]
fn a_commit_is_named_or_approved() {
    let full_a = "a".repeat(40);
    let full_c = "c".repeat(40);
    let cases: Vec<(&str, &str, Change, &str)> = vec![
        ("the head's digits", "bbbbbbb", |_, _| {}, "accepted: bbb untrusted"),
        ("more digits", "bbbbbbbbbbbb", |_, _| {}, "accepted: bbb untrusted"),
        ("a full id", &full_a, |_, _| {}, "accepted: aaa untrusted"),
        ("digits of an older commit", "aaaaaaa", |_, _| {}, "refused: `aaaaaaa` is not how"),
        ("a commit of nobody", &full_c, |_, _| {}, "refused: `ccccc"),
        (
            "a branch of the repository itself",
            "bbbbbbb",
            |_, f| f.pull.head_repository = Some(10),
            "accepted: bbb trusted",
        ),
        (
            "a fork that is gone",
            &full_a,
            |_, f| f.pull.head_repository = None,
            "accepted: aaa untrusted",
        ),
        (
            "a fork that is gone, by digits",
            "bbbbbbb",
            |_, f| (f.pull.head_repository, f.pull.pushed_us) = (None, None),
            "refused: Something was pushed",
        ),
        (
            "pushed after the command",
            "bbbbbbb",
            |_, f| f.pull.pushed_us = Some(MADE_US + 1),
            "refused: Something was pushed",
        ),
        (
            "pushed in the very second",
            "bbbbbbb",
            |_, f| f.pull.pushed_us = Some(MADE_US),
            "refused: Something was pushed",
        ),
        (
            "pushed after a command with the full id",
            &full_a,
            |_, f| f.pull.pushed_us = Some(MADE_US + 1),
            "accepted: aaa untrusted",
        ),
        (
            "pushed to by who may write",
            "bbbbbbb",
            |_, f| (f.pull.head_repository, f.pull.pushed_us) = (Some(10), Some(MADE_US + 1)),
            "accepted: bbb trusted",
        ),
        ("replaced after the command", "ddddddd", |_, _| {}, "refused: `ddddddd` is not how"),
        (
            "approved, and pushed away since",
            &full_c,
            |_, f| f.pull.reviews = vec![review(Some(BOB), 'c')],
            "accepted: ccc untrusted, reviewed",
        ),
        (
            "approved, by digits",
            "ccccccc",
            |_, f| f.pull.reviews = vec![review(Some(BOB), 'c')],
            "accepted: ccc untrusted, reviewed",
        ),
        (
            "approved by a stranger",
            &full_c,
            |_, f| f.pull.reviews = vec![review(Some(STRANGER), 'c')],
            "refused: `ccc",
        ),
        (
            "approved by an account that is gone",
            &full_c,
            |_, f| f.pull.reviews = vec![review(None, 'c')],
            "refused: `ccc",
        ),
        (
            "approved by who may no longer write",
            &full_c,
            |_, f| f.pull.reviews = vec![Review { level: Level::Read, ..review(Some(BOB), 'c') }],
            "refused: `ccc",
        ),
        (
            "dismissed",
            &full_c,
            |_, f| f.pull.reviews = vec![Review { is_approval: false, ..review(Some(BOB), 'c') }],
            "refused: `ccc",
        ),
        (
            "another commit approved",
            &full_c,
            |_, f| f.pull.reviews = vec![review(Some(BOB), 'd')],
            "refused: `ccc",
        ),
    ];
    for (what, named, change, expected) in cases {
        let (mut asked, mut facts) = (asked(run(named)), facts());
        change(&mut asked, &mut facts);
        let word = word(&decided(&asked, &facts));
        assert!(word.starts_with(expected), "{what}: {word}");
    }
}

#[test]
fn who_may_ask() {
    let cases: Vec<(&str, Command, Change, &str)> = vec![
        (
            "a stranger",
            run("bbbbbbb"),
            |a, f| {
                (a.author, f.level) =
                    (Some(Account { id: STRANGER, login: "eve`".into() }), Level::None)
            },
            "refused: `eve'` is not among the accounts that may ask here. `eve'` has the permission `none` \
          in this repository; `write` is wanted.",
        ),
        (
            "another account with a name that is listed",
            run("bbbbbbb"),
            |a, _| a.author = Some(Account { id: STRANGER, login: "alice".into() }),
            "refused: `alice` is not among the accounts that may ask here.",
        ),
        (
            "a listed account under another name",
            run("bbbbbbb"),
            |a, _| a.author = Some(Account { id: BOB, login: "robert".into() }),
            "accepted: bbb untrusted",
        ),
        (
            "a permission that was taken away",
            run("bbbbbbb"),
            |_, f| f.level = Level::Triage,
            "refused: `alice` has the permission `triage` in this repository; `write` is wanted.",
        ),
        (
            "the bot itself",
            Command::Help,
            |a, _| a.author = Some(Account { id: OWN, login: "dyno".into() }),
            "ignored: Own",
        ),
        ("an account that is gone", run("bbbbbbb"), |a, _| a.author = None, "ignored: NoAuthor"),
        ("an edited comment", run("bbbbbbb"), |a, _| a.changed_us += 1_000_000, "ignored: Edited"),
        ("a comment that is known", run("bbbbbbb"), |a, _| a.is_known = true, "ignored: Known"),
        (
            "help for anybody",
            Command::Help,
            |a, f| {
                (a.author, f.level) =
                    (Some(Account { id: STRANGER, login: "eve".into() }), Level::None)
            },
            "accepted",
        ),
        (
            "an end by who made the pull request",
            Command::Cancel,
            |a, f| {
                (a.author, f.level) =
                    (Some(Account { id: STRANGER, login: "eve".into() }), Level::None)
            },
            "accepted",
        ),
        (
            "an end by a stranger",
            Command::Cancel,
            |a, f| {
                (a.author, f.level) = (Some(Account { id: 7, login: "eve".into() }), Level::Write)
            },
            "refused: `eve` is not among",
        ),
        (
            "a comparison of the baseline with itself",
            Command::SelfCheck(Scope::default()),
            |_, _| {},
            "accepted",
        ),
        (
            "one by a stranger",
            Command::SelfCheck(Scope::default()),
            |a, _| a.author = Some(Account { id: 7, login: "eve".into() }),
            "refused: `eve` is not among",
        ),
        (
            "a suite that is not for this repository",
            Command::SelfCheck(Scope { suite: Some("rustc".into()), ..Scope::default() }),
            |_, _| {},
            "refused: The suite `rustc` cannot be asked for here.",
        ),
        (
            "too many in the pull request",
            run("bbbbbbb"),
            |_, f| f.open_in_pull = 2,
            "refused: 2 requests are open in this pull request.",
        ),
        (
            "too many of one account",
            run("bbbbbbb"),
            |_, f| f.open_of_account = 3,
            "refused: 3 requests of this account are open.",
        ),
        ("a status in spite of that", Command::Status, |_, f| f.open_in_pull = 2, "accepted"),
    ];
    for (what, command, change, expected) in cases {
        let (mut asked, mut facts) = (asked(command), facts());
        change(&mut asked, &mut facts);
        let word = word(&decided(&asked, &facts));
        assert!(word.starts_with(expected), "{what}: {word}");
    }
}

#[test]
fn a_strangers_commit_is_no_baseline() {
    let (mut asked, mut facts) = (asked(run("bbbbbbb")), facts());
    let Command::Run(run) = &mut asked.command else { panic!() };
    run.base = Some("main".into());
    assert_eq!(word(&decided(&asked, &facts)), "accepted: bbb untrusted");
    facts.is_base_own = false;
    assert!(word(&decided(&asked, &facts)).starts_with("refused: `main` is no branch"));
}

#[test]
fn what_is_missing_is_said_at_once_and_who_can_give_it() {
    let (mut asked, mut facts) = (asked(run("ccccccc")), facts());
    asked.author = Some(Account { id: STRANGER, login: "eve".into() });
    (facts.level, facts.open_in_pull) = (Level::Read, 9);
    let Decision::Refuse(missing) = decided(&asked, &facts) else { panic!() };
    let lines: Vec<String> =
        missing.iter().map(|r| format!("{} {}", r.sentence(), r.remedy(&rules()))).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_grant_is_asked_for_again_when_its_job_is_taken() {
    let cases: Vec<(&str, bool, fn(&mut Repository, &mut Facts), &str)> = vec![
        ("nothing happened", false, |_, _| {}, "accepted: bbb untrusted"),
        (
            "another head was pushed",
            false,
            |_, f| {
                f.pull.head = commit('e');
                f.pull.commits = vec![commit('e')];
                f.pull.pushed_us = Some(MADE_US + 9);
            },
            "accepted: bbb untrusted",
        ),
        ("the permission is gone", false, |_, f| f.level = Level::None, "refused: `alice` has"),
        (
            "the account is no longer listed",
            false,
            |r, _| {
                r.accounts.remove("alice");
            },
            "refused: `alice` is not among",
        ),
        (
            "the review stands",
            true,
            |_, f| f.pull.reviews = vec![review(Some(BOB), 'c')],
            "accepted: ccc untrusted, reviewed",
        ),
        (
            "the review was dismissed",
            true,
            |_, f| f.pull.reviews = vec![Review { is_approval: false, ..review(Some(BOB), 'c') }],
            "refused: The review that approved `ccc",
        ),
        (
            "who reviewed may no longer",
            true,
            |_, f| f.pull.reviews = vec![Review { level: Level::Read, ..review(Some(BOB), 'c') }],
            "refused: The review that approved `ccc",
        ),
        // A fork that became the repository's own branch, as GitHub tells it.
        (
            "it is said to be no fork any more",
            false,
            |_, f| f.pull.head_repository = Some(10),
            "accepted: bbb untrusted",
        ),
    ];
    for (what, is_reviewed, change, expected) in cases {
        let (mut rules, mut facts) = (rules(), facts());
        let mut first = facts.clone();
        first.pull.reviews = vec![review(Some(BOB), 'c')];
        let named = if is_reviewed { "ccccccc" } else { "bbbbbbb" };
        let Decision::Accept(grant) = decided(&asked(run(named)), &first) else { panic!("{what}") };
        change(&mut rules, &mut facts);
        let word = word(&confirm(&rules, &grant, &facts));
        assert!(word.starts_with(expected), "{what}: {word}");
    }
    // One that was the repository's own and comes from a fork now.
    let mut own = facts();
    own.pull.head_repository = Some(10);
    let Decision::Accept(grant) = decided(&asked(run("bbbbbbb")), &own) else { panic!() };
    assert_eq!(word(&confirm(&rules(), &grant, &own)), "accepted: bbb trusted");
    assert_eq!(word(&confirm(&rules(), &grant, &facts())), "accepted: bbb untrusted");
}
