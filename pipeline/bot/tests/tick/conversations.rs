//! Conversations, as they are read.

use std::time::Duration;

use dyno_model::queue::Ending;
use dyno_model::record::Trust;
use dyno_model::verdict::Conclusion;

use crate::world::World;

/// From a comment to its verdict, and the calls that took.
#[tokio::test]
async fn a_comment_asks_and_a_comment_answers() {
    let world = World::new();
    let pull = world.pull();
    world.tick().await;
    let head = world.twin.head(&pull);
    world.twin.comment_as("alice", &pull, &format!("@dyno run {}", &head[..7]));
    world.requests();
    assert_eq!(world.tick().await.heard, 1);
    let mut stages = vec![world.shown(&pull)];
    // Where nothing changes, nothing is said, and only what is new is asked for.
    let before = world.requests().len();
    assert_eq!(world.tick().await.said, 0);
    assert_eq!(world.requests(), []);
    world.take().await;
    world.tick().await;
    stages.push(world.shown(&pull));
    world.measure(None).await;
    world.tick().await;
    stages.push(world.shown(&pull));
    let calls = before + world.requests().len();
    assert!(calls <= 30, "{calls} calls");
    insta::assert_snapshot!(stages.join("\n=====\n\n"));
    world.tick().await;
    assert_eq!(world.requests(), [], "what was said stays said");
    assert_eq!(world.objects.names("bot/open/"), [] as [String; 0]);
    assert_eq!(world.objects.names("bot/due/"), [] as [String; 0]);
}

/// A status of the commit stands for the check where the bot is no App; labels say the same.
#[tokio::test]
async fn an_account_with_a_token_answers_alike() {
    let world = World::with_token();
    let labels = "[labels]\nwaiting = \"S-waiting\"\nregressed = \"slow\"\n";
    world.twin.repository("acme/widget").file(".github/dyno.toml", labels);
    let pull = world.pull();
    world.tick().await;
    world.twin.comment_as("alice", &pull, &format!("@dyno run {}", world.twin.head(&pull)));
    world.tick().await;
    let queued = world.shown(&pull);
    assert!(queued.contains("labels: S-waiting\n"), "{queued}");
    assert!(queued.contains("status dyno: wasmi by dyno: pending"), "{queued}");
    world.measure(None).await;
    world.tick().await;
    let text = world.shown(&pull);
    assert!(text.contains("labels: slow\n"), "{text}");
    assert!(text.contains("status dyno: wasmi by dyno: success: Regressed: 1 of 2"), "{text}");
    assert_eq!(world.own_comments(&pull), 1);
}

/// What is said to commands that start nothing.
#[tokio::test]
async fn what_starts_nothing_is_answered_once() {
    let world = World::new();
    let pull = world.pull();
    world.tick().await;
    let head = world.twin.head(&pull);
    let fork = world.twin.repository("acme/widget").fork("mallory").pull("mallory", "Trust me");
    let foreign = world.twin.head(&fork);
    let mut shown = Vec::new();
    for (who, what) in [
        ("mallory", format!("@dyno run {head}")),
        ("alice", "@dyno runn 1234567".to_string()),
        ("alice", format!("@dyno run {}", "0".repeat(40))),
        ("alice", format!("@dyno run suite=other {head}")),
        ("alice", format!("@dyno run only=nothing {head}")),
        ("alice", format!("@dyno run base=nowhere {head}")),
        ("alice", format!("@dyno run base={foreign} {head}")),
        ("alice", "@dyno cancel".to_string()),
        ("alice", "@dyno status".to_string()),
        ("alice", "@dyno unroll".to_string()),
        ("mallory", "@dyno help".to_string()),
    ] {
        world.twin.comment_as(who, &pull, &what);
        assert_eq!(world.tick().await.heard, 1, "{what}");
        assert_eq!(world.own_comments(&pull), 1, "{what}");
        let text = world.shown(&pull);
        let answer = text.split("dyno[bot]:\n").nth(1).unwrap();
        let answer =
            answer.split("\n\nalice:").next().unwrap().split("\n\nmallory:").next().unwrap();
        shown.push(format!("{who}: {}\n{answer}", what.replace(&head, "HEAD")));
        assert_eq!(world.tick().await.said, 0, "{what}: it is said once");
    }
    insta::assert_snapshot!(shown.join("\n\n").replace(&foreign, "FOREIGN"));
    assert_eq!(world.made.wanted.lock().unwrap().len(), 0);
    // A branch of the repository, and a commit of it, are baselines.
    let main = world.twin.repository("acme/widget").tip("main");
    for base in ["main", &main] {
        world.twin.comment_as("alice", &pull, &format!("@dyno run base={base} {head}"));
        world.tick().await;
        let wanted = world.made.wanted.lock().unwrap().pop();
        assert_eq!(wanted.map(|wanted| wanted.baseline.to_string()), Some(main.clone()), "{base}");
    }
}

/// Comments that are none of the bot's business, and one of an account that is gone.
#[tokio::test]
async fn what_is_no_command_does_nothing() {
    let world = World::new();
    let pull = world.pull();
    let issue = world.twin.repository("acme/widget").issue("alice", "Slow");
    world.tick().await;
    let run = format!("@dyno run {}", world.twin.head(&pull));
    let edited = world.twin.comment_as("alice", &pull, "LGTM");
    world.clock.advance(Duration::from_secs(1));
    world.twin.edit_as("alice", &pull, edited, &run);
    world.twin.comment_as("alice", &pull, &format!("> {run}"));
    world.twin.comment_as("alice", &pull, &format!("```\n{run}\n```"));
    world.twin.comment_as("alice", &issue, &run);
    world.twin.account("gone", 7);
    world.twin.comment_as("gone", &pull, &run);
    world.twin.delete_account("gone");
    assert_eq!(world.tick().await.heard, 0);
    assert_eq!(world.own_comments(&pull) + world.own_comments(&issue), 0);
    // A command that was taken and is edited afterwards is not taken again.
    let comment = world.twin.comment_as("alice", &pull, &run);
    assert_eq!(world.tick().await.heard, 1);
    world.twin.edit_as("alice", &pull, comment, "@dyno cancel");
    assert_eq!(world.tick().await.heard, 0);
    assert_eq!(world.open_jobs().await.len(), 1);
}

/// A fork's commit is a stranger's, and a push after the command changes nothing.
#[tokio::test]
async fn what_was_named_is_measured_whatever_is_pushed() {
    let world = World::new();
    let pull = world.twin.repository("acme/widget").fork("mallory").pull("mallory", "Trust me");
    world.tick().await;
    let named = world.twin.head(&pull);
    world.twin.comment_as("alice", &pull, &format!("@dyno run {named}"));
    let pushed = world.twin.push(&pull, "Evil");
    world.tick().await;
    let wanted = world.made.wanted.lock().unwrap().clone();
    let [wanted] = wanted.as_slice() else { panic!("{wanted:?}") };
    assert_eq!((wanted.candidate.hex(), wanted.trust), (named.as_str(), Trust::Untrusted));
    let text = world.twin.conversation(&pull);
    assert!(text.contains("is from a fork, and is measured as an untrusted one"), "{text}");
    assert!(text.contains(&format!("The head is `{}` by now", &pushed[..12])), "{text}");
    // A check of another commit than the head says neither yes nor no.
    world.measure(None).await;
    world.tick().await;
    let text = world.twin.conversation(&pull);
    assert!(text.contains("check dyno: wasmi: completed, neutral"), "{text}");
}

/// What a review approves is measured, until it is dismissed when the job is taken.
#[tokio::test]
async fn who_has_lost_the_right_ends_what_was_asked() {
    let world = World::new();
    let pull = world.twin.repository("acme/widget").fork("mallory").pull("mallory", "Faster");
    world.tick().await;
    let head = world.twin.head(&pull);
    world.twin.comment_as("alice", &pull, &format!("@dyno run {head}"));
    world.tick().await;
    world.twin.repository("acme/widget").permission("alice", "read");
    world.take().await;
    world.tick().await;
    let text = world.shown(&pull);
    assert!(text.contains("not taken: `alice` has the permission `read`"), "{text}");
    assert_eq!(world.open_jobs().await, []);
}

/// A marker that a stranger plants neither silences the bot nor is taken over.
#[tokio::test]
async fn a_planted_marker_is_nobodys() {
    let world = World::new();
    let pull = world.pull();
    world.twin.comment_as("mallory", &pull, "<!-- dyno: wasmi -->\nImproved: all.");
    world.tick().await;
    world.twin.comment_as("alice", &pull, &format!("@dyno run {}", world.twin.head(&pull)));
    world.tick().await;
    let text = world.shown(&pull);
    assert!(text.contains("mallory:\n    <!-- dyno: wasmi -->\n    Improved: all."), "{text}");
    assert!(text.contains("dyno[bot]:\n    <!-- dyno: wasmi -->\n\n    ### Queued"), "{text}");
}

#[tokio::test]
async fn cancel_ends_what_is_open_and_a_newer_command_takes_the_comment() {
    let world = World::new();
    let pull = world.pull();
    world.tick().await;
    let first = world.twin.head(&pull);
    world.twin.comment_as("alice", &pull, &format!("@dyno run {first}"));
    world.tick().await;
    let second = world.twin.push(&pull, "Faster still");
    // The suite is the default one, so it is the same in other words.
    world.twin.comment_as("alice", &pull, &format!("@dyno run suite=wasmi {second}"));
    world.tick().await;
    assert_eq!(world.open_jobs().await.len(), 1, "the older one is not measured any more");
    assert_eq!(world.own_comments(&pull), 1);
    world.twin.comment_as("alice", &pull, "@dyno cancel");
    world.tick().await;
    assert_eq!(world.open_jobs().await, []);
    let text = world.shown(&pull);
    assert!(text.contains("### Cancelled: `wasmi`"), "{text}");
    assert!(text.contains("1 request cancelled."), "{text}");
    assert!(text.contains("check dyno: wasmi: completed, cancelled"), "{text}");
    assert_eq!(world.own_comments(&pull), 2);
}

/// Endings that are no verdict have their sentence too.
#[tokio::test]
async fn what_fails_and_what_nobody_measures_is_said() {
    let world = World::new();
    let pull = world.pull();
    world.tick().await;
    let head = world.twin.head(&pull);
    world.twin.comment_as("alice", &pull, &format!("@dyno run {head}"));
    world.tick().await;
    world.clock.advance(Duration::from_secs(3600));
    world.tick().await;
    assert!(world.shown(&pull).contains("### No host answers: `wasmi`"));
    let why = "no image `<b>` of @everyone".to_string();
    world.measure(Some(Ending::Failed { why })).await;
    world.tick().await;
    let text = world.shown(&pull);
    assert!(text.contains("### Not measured: `wasmi`"), "{text}");
    assert!(text.contains("failed: no image `<b>` of `@everyone`"), "{text}");
    // `self` compares the baseline with itself, and has a comment of its own.
    *world.made.conclusion.lock().unwrap() = Conclusion::Unchanged;
    world.twin.comment_as("alice", &pull, "@dyno self");
    world.tick().await;
    world.measure(None).await;
    world.tick().await;
    let wanted = world.made.wanted.lock().unwrap().last().cloned().unwrap();
    assert_eq!((&wanted.baseline, wanted.trust), (&wanted.candidate, Trust::Trusted));
    assert!(world.shown(&pull).contains("<!-- dyno: wasmi (self) -->"));
    assert_eq!(world.own_comments(&pull), 2);
}
