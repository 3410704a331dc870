//! Lists: pages, `since`, order.

use std::time::Duration;

use dyno_github_twin::Twin;
use serde_json::Value;

use crate::client::{all_pages, get, link};

fn bodies(items: &[Value]) -> Vec<&str> {
    items.iter().filter_map(|item| item["body"].as_str()).collect()
}

#[tokio::test]
async fn a_list_comes_in_pages_that_name_each_other() {
    let hub = Twin::start();
    let token = hub.account("alice", 1001);
    let issue = hub.repository("acme/widget").issue("alice", "Slow");
    let target =
        "/repos/acme/widget/issues/1/comments?since=2026-01-01T00:00:00%2B00:00&per_page=3";
    assert_eq!(get(&hub, &token, target).await.header("link"), "");
    for n in 0..7 {
        hub.comment_as("alice", &issue, &n.to_string());
    }
    let first = get(&hub, &token, target).await;
    let relations = ["prev", "next", "last", "first"];
    let has = |page: &crate::client::Answer| relations.map(|name| link(page, name).is_some());
    assert_eq!(has(&first), [false, true, true, false]);
    let second = get(&hub, &token, &link(&first, "next").unwrap()).await;
    assert_eq!(has(&second), [true, true, true, true]);
    let last = get(&hub, &token, &link(&first, "last").unwrap()).await;
    assert_eq!(has(&last), [true, false, false, true]);
    assert_eq!(bodies(last.body.as_array().unwrap()), ["6"]);
    let all = all_pages(&hub, &token, target).await;
    assert_eq!(bodies(&all), ["0", "1", "2", "3", "4", "5", "6"]);
    // More than a hundred a page are never given.
    for n in 7..120 {
        hub.comment_as("alice", &issue, &n.to_string());
    }
    let target = "/repos/acme/widget/issues/1/comments?per_page=1000";
    assert_eq!(get(&hub, &token, target).await.body.as_array().unwrap().len(), 100);
    assert_eq!(all_pages(&hub, &token, target).await.len(), 120);
}

#[tokio::test]
async fn since_counts_the_last_change_and_its_own_second() {
    let hub = Twin::start();
    let token = hub.account("alice", 1001);
    let repository = hub.repository("acme/widget");
    let (one, two) = (repository.issue("alice", "One"), repository.issue("alice", "Two"));
    let old = hub.comment_as("alice", &one, "old");
    hub.advance(Duration::from_secs(10));
    hub.comment_as("alice", &two, "new");
    let list = "/repos/acme/widget/issues/comments";
    let table: &[(&str, &[&str])] = &[
        ("", &["old", "new"]),
        ("?since=2026-01-01T00:00:00Z", &["old", "new"]),
        ("?since=2026-01-01T00:00:01Z", &["new"]),
        ("?since=2026-01-01T00:00:10Z", &["new"]),
        ("?since=2026-01-01T00:00:11Z", &[]),
        ("?sort=created", &["new", "old"]),
        ("?sort=created&direction=asc", &["old", "new"]),
        ("?direction=desc", &["old", "new"]),
    ];
    for (query, expected) in table {
        let answer = get(&hub, &token, &format!("{list}{query}")).await;
        assert_eq!(&bodies(answer.body.as_array().unwrap()), expected, "{query}");
    }
    hub.advance(Duration::from_secs(10));
    hub.edit_as("alice", &one, old, "edited");
    let answer = get(&hub, &token, &format!("{list}?since=2026-01-01T00:00:11Z")).await;
    assert_eq!(bodies(answer.body.as_array().unwrap()), ["edited"]);
    let by_change = format!("{list}?sort=updated&direction=asc");
    let answer = get(&hub, &token, &by_change).await;
    assert_eq!(bodies(answer.body.as_array().unwrap()), ["new", "edited"]);
    hub.delete_as("alice", &one, old);
    let answer = get(&hub, &token, list).await;
    assert_eq!(bodies(answer.body.as_array().unwrap()), ["new"]);
}
