//! GitHub away, limits, lost replies, and one repository that fails.

use std::time::Duration;

use dyno_github_twin::{Fault, Rule};

use crate::world::World;

#[tokio::test]
async fn a_reply_that_is_lost_after_the_write_leaves_one_comment() {
    for path in ["/repos/*/issues/*/comments", "/repos/*/check-runs", "*/reactions"] {
        let world = World::new();
        let pull = world.pull();
        world.tick().await;
        world.twin.comment_as("alice", &pull, &format!("@dyno run {}", world.twin.head(&pull)));
        world.twin.fault(Rule::new("POST", path, Fault::ReplyLost));
        world.clock.advance(Duration::from_secs(60));
        world.pass().await.unwrap();
        for _ in 0..2 {
            world.tick().await;
        }
        let text = world.shown(&pull);
        assert_eq!(world.own_comments(&pull), 1, "{path}: {text}");
        assert_eq!(text.matches("👀").count(), 1, "{path}: {text}");
        let requests = world.twin.requests();
        let checks =
            requests.iter().filter(|r| r.method == "POST" && r.path.ends_with("check-runs"));
        assert_eq!(checks.count(), 1, "{path}: a POST is not repeated blindly");
    }
}

#[tokio::test]
async fn github_away_loses_nothing() {
    let world = World::new();
    let pull = world.pull();
    world.tick().await;
    world.twin.comment_as("alice", &pull, &format!("@dyno run {}", world.twin.head(&pull)));
    // An hour of it, in each repository.
    for _ in 0..5 {
        world.twin.away(2);
        world.clock.advance(Duration::from_secs(720));
        let pass = world.pass().await.unwrap();
        assert!(!pass.troubles.is_empty());
    }
    world.tick().await;
    world.measure(None).await;
    for status in [500, 502, 503] {
        world.twin.fault(Rule::new("PATCH", "*", Fault::After(status)));
        world.clock.advance(Duration::from_secs(60));
        world.pass().await.unwrap();
    }
    world.tick().await;
    assert!(world.shown(&pull).contains("### Regressed: 1 of 2 series."));
    assert_eq!(world.own_comments(&pull), 1);
}

/// A pass that is told to wait ends, and says when to come again.
#[tokio::test]
async fn a_limit_ends_the_pass() {
    for (fault, wait_s) in [
        (Fault::SecondaryLimit(403, Some(90)), 90),
        (Fault::SecondaryLimit(429, None), 60),
        (Fault::PrimaryLimit(403), 3600),
    ] {
        let world = World::new();
        let pull = world.pull();
        world.tick().await;
        world.twin.comment_as("alice", &pull, &format!("@dyno run {}", world.twin.head(&pull)));
        world.twin.fault(Rule::new("GET", "/repos/acme/widget/pulls/*", fault.clone()));
        world.clock.advance(Duration::from_secs(60));
        world.twin.take_requests();
        let pass = world.pass().await.unwrap();
        assert!(pass.is_limited, "{fault:?}");
        let seconds =
            (pass.again_us.unwrap() - dyno_queue::Clock::wall_us(&world.clock)) / 1_000_000;
        assert!((wait_s - 65..=wait_s).contains(&seconds), "{fault:?}: {seconds} s");
        let last = world.twin.take_requests().pop().unwrap();
        assert!(last.path.contains("/pulls/"), "nothing is asked after it: {last:?}");
        world.clock.advance(Duration::from_secs(wait_s as u64));
        world.tick().await;
        assert!(world.shown(&pull).contains("### Queued"), "{fault:?}");
    }
}

#[tokio::test]
async fn one_failing_repository_stops_no_other() {
    let world = World::new();
    let pull = world.twin.repository("acme/other").pull("alice", "Elsewhere");
    let lost = world.pull();
    world.tick().await;
    for pull in [&pull, &lost] {
        world.twin.comment_as("alice", pull, &format!("@dyno run {}", world.twin.head(pull)));
    }
    world.twin.fault(Rule::new("GET", "/repos/acme/widget/*", Fault::Before(500)).times(10));
    world.clock.advance(Duration::from_secs(60));
    let pass = world.pass().await.unwrap();
    assert!(pass.troubles[0].starts_with("acme/widget: GitHub: "), "{:?}", pass.troubles);
    assert!(world.shown(&pull).contains("### Queued"));
    for _ in 0..10 {
        world.clock.advance(Duration::from_secs(60));
        world.pass().await.unwrap();
    }
    assert!(world.shown(&lost).contains("### Queued"), "what it brought is not passed over");
}
