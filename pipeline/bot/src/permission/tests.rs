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
    Review { author, level: Level::Write, opinion: Opinion::Approves, commit: commit(of) }
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

/// Where a pull request comes from.
const FORK: Option<u64> = Some(20);
const REPOSITORY: Option<u64> = Some(10);

#[test]
fn a_commit_is_named() {
    let [full_a, full_c] = ["a", "c"].map(|digit| digit.repeat(40));
    let (before, then, after) = (Some(MADE_US - 1), Some(MADE_US), Some(MADE_US + 1));
    let pushed = "refused: Something was pushed";
    for (what, named, head_repository, pushed_us, expected) in [
        ("the head's digits", "bbbbbbb", FORK, before, "accepted: bbb untrusted"),
        ("more digits", "bbbbbbbbbbbb", FORK, before, "accepted: bbb untrusted"),
        ("a full id", &full_a, FORK, before, "accepted: aaa untrusted"),
        ("digits of an older commit", "aaaaaaa", FORK, before, "refused: `aaaaaaa` is not how"),
        ("a commit of nobody", &full_c, FORK, before, "refused: `ccc"),
        ("a branch of the repository", "bbbbbbb", REPOSITORY, before, "accepted: bbb trusted"),
        ("a fork that is gone", &full_a, None, before, "accepted: aaa untrusted"),
        ("a fork that is gone, by digits", "bbbbbbb", None, None, pushed),
        ("pushed after the command", "bbbbbbb", FORK, after, pushed),
        ("pushed in the very second", "bbbbbbb", FORK, then, pushed),
        ("pushed after the full id", &full_a, FORK, after, "accepted: aaa untrusted"),
        ("pushed by who may write", "bbbbbbb", REPOSITORY, after, "accepted: bbb trusted"),
        ("another head by now", "ddddddd", FORK, after, "refused: `ddddddd` is not how"),
    ] {
        let mut facts = facts();
        (facts.pull.head_repository, facts.pull.pushed_us) = (head_repository, pushed_us);
        let word = word(&decided(&asked(run(named)), &facts));
        assert!(word.starts_with(expected), "{what}: {word}");
    }
}

#[test]
fn a_commit_is_approved() {
    use Opinion::{Approves, Neither, Objects};
    let full = "c".repeat(40);
    let (yes, no) = ("accepted: ccc untrusted, reviewed", "refused: `ccc");
    let by = |id, opinion, of| Review { opinion, ..review(Some(id), of) };
    let weak = Review { level: Level::Read, ..review(Some(BOB), 'c') };
    for (what, named, reviews, expected) in [
        ("approved, and pushed away", &*full, vec![by(BOB, Approves, 'c')], yes),
        ("approved, by digits", "ccccccc", vec![by(BOB, Approves, 'c')], yes),
        ("by a stranger", &full, vec![by(STRANGER, Approves, 'c')], no),
        ("by an account that is gone", &full, vec![review(None, 'c')], no),
        ("by who may no longer write", &full, vec![weak], no),
        ("dismissed", &full, vec![by(BOB, Neither, 'c')], no),
        ("another commit", &full, vec![by(BOB, Approves, 'd')], no),
        ("objected to since", &full, vec![by(BOB, Approves, 'c'), by(BOB, Objects, 'd')], no),
        ("commented on since", &full, vec![by(BOB, Approves, 'c'), by(BOB, Neither, 'd')], yes),
        ("approved in the end", &full, vec![by(BOB, Objects, 'd'), by(BOB, Approves, 'c')], yes),
        ("by one of two", &full, vec![by(ALICE, Approves, 'c'), by(BOB, Objects, 'c')], yes),
        ("and a later one too", &full, vec![by(BOB, Approves, 'c'), by(BOB, Approves, 'd')], yes),
    ] {
        let mut facts = facts();
        facts.pull.reviews = reviews;
        let word = word(&decided(&asked(run(named)), &facts));
        assert!(word.starts_with(expected), "{what}: {word}");
    }
}

#[test]
fn who_may_ask() {
    let measure = || run("bbbbbbb");
    let itself = || Command::SelfCheck(Scope::default());
    let accepted = "accepted: bbb untrusted";
    for (what, id, login, level, command, expected) in [
        ("one who may", ALICE, "alice", Level::Write, measure(), accepted),
        ("a listed account under another name", BOB, "robert", Level::Admin, measure(), accepted),
        (
            "the name of one who may",
            7,
            "alice",
            Level::Write,
            measure(),
            "refused: `alice` is not among the accounts that may ask here.",
        ),
        (
            "a permission that was taken away",
            ALICE,
            "alice",
            Level::Triage,
            measure(),
            "refused: `alice` has the permission `triage` in this repository; `write` is wanted.",
        ),
        (
            "a stranger",
            7,
            "eve`",
            Level::None,
            measure(),
            "refused: `eve'` is not among the accounts that may ask here. `eve'` has the permission",
        ),
        ("the bot itself", OWN, "dyno", Level::Admin, Command::Help, "ignored: Own"),
        ("help for anybody", 7, "eve", Level::None, Command::Help, "accepted"),
        ("status for anybody", 7, "eve", Level::None, Command::Status, "accepted"),
        ("who made the pull request", STRANGER, "eve", Level::None, Command::Cancel, "accepted"),
        (
            "an end by others",
            7,
            "eve",
            Level::Write,
            Command::Cancel,
            "refused: `eve` is not among",
        ),
        (
            "a split by others",
            7,
            "eve",
            Level::Write,
            Command::Unroll,
            "refused: `eve` is not among",
        ),
        ("the baseline with itself", ALICE, "alice", Level::Write, itself(), "accepted"),
        ("that by others", 7, "eve", Level::Write, itself(), "refused: `eve` is not among"),
    ] {
        let (mut asked, mut facts) = (asked(command), facts());
        asked.author = Some(Account { id, login: login.into() });
        facts.level = level;
        let word = word(&decided(&asked, &facts));
        assert!(word.starts_with(expected), "{what}: {word}");
    }
}

#[test]
fn what_else_is_wrong_with_a_command() {
    let measure = || run("bbbbbbb");
    let rustc = Scope { suite: Some("rustc".into()), ..Scope::default() };
    type Change = fn(&mut Asked, &mut Facts);
    let cases: [(&str, Command, Change, &str); 7] = [
        ("an account that is gone", measure(), |a, _| a.author = None, "ignored: NoAuthor"),
        ("an edited comment", measure(), |a, _| a.changed_us += 1, "ignored: Edited"),
        ("a comment that is known", measure(), |a, _| a.is_known = true, "ignored: Known"),
        (
            "a suite that is not for this repository",
            Command::SelfCheck(rustc),
            |_, _| {},
            "refused: The suite `rustc` cannot be asked for here.",
        ),
        (
            "too many in the pull request",
            measure(),
            |_, f| f.open_in_pull = 2,
            "refused: 2 requests are open in this pull request.",
        ),
        (
            "too many of one account",
            measure(),
            |_, f| f.open_of_account = 3,
            "refused: 3 requests of this account are open.",
        ),
        ("a status in spite of that", Command::Status, |_, f| f.open_in_pull = 2, "accepted"),
    ];
    for (what, command, change, expected) in cases {
        let (mut asked, mut facts) = (asked(command), facts());
        change(&mut asked, &mut facts);
        assert_eq!(word(&decided(&asked, &facts)), expected, "{what}");
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
    type Change = fn(&mut Repository, &mut Facts);
    let cases: Vec<(&str, bool, Change, &str)> = vec![
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
            |_, f| {
                f.pull.reviews =
                    vec![Review { opinion: Opinion::Neither, ..review(Some(BOB), 'c') }]
            },
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
