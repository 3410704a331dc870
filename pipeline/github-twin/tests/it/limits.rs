//! Primary and secondary limits, and what costs nothing.

use std::time::Duration;

use dyno_github_twin::{Fault, Rule, Twin};
use serde_json::{Value, json};

use crate::client::{get, send, try_send};

const COMMENTS: &str = "/repos/acme/widget/issues/1/comments";

fn hub() -> (Twin, String) {
    let hub = Twin::start();
    let token = hub.bot("dyno", 9000);
    hub.repository("acme/widget").issue("dyno", "Slow");
    (hub, token)
}

#[tokio::test]
async fn the_hours_requests_run_out_and_come_back() {
    let (hub, token) = hub();
    hub.limit("dyno", 2);
    let remaining =
        |answer: &crate::client::Answer| answer.header("x-ratelimit-remaining").to_string();
    let first = get(&hub, &token, "/user").await;
    assert_eq!((first.header("x-ratelimit-limit"), first.header("x-ratelimit-used")), ("2", "1"));
    assert_eq!(first.header("x-ratelimit-reset"), (hub.now() + 3600).to_string());
    assert_eq!(remaining(&get(&hub, &token, "/user").await), "0");
    let refused = get(&hub, &token, "/user").await;
    assert_eq!((refused.status, remaining(&refused).as_str()), (403, "0"));
    assert_eq!(refused.message(), "API rate limit exceeded");
    // Asking for the limit is free, and another account has its own.
    assert_eq!(get(&hub, &token, "/rate_limit").await.body["rate"]["remaining"], 0);
    let other = hub.account("alice", 1001);
    assert_eq!(remaining(&get(&hub, &other, "/user").await), "4999");
    assert_eq!(remaining(&get(&hub, "", "/repos/acme/widget").await), "59");
    hub.advance(Duration::from_secs(3600));
    assert_eq!(remaining(&get(&hub, &token, "/user").await), "1");
}

/// The words of `not-in-spec.json`, which nobody's schema holds.
#[tokio::test]
async fn limits_are_told_in_githubs_words() {
    let (hub, token) = hub();
    let cases: Value =
        serde_json::from_str(include_str!("../../schemas/not-in-spec.json")).unwrap();
    let said = |name: &str| {
        let case = cases.as_array().unwrap().iter().find(|case| case["case"] == name);
        case.unwrap_or_else(|| panic!("no case {name}")).clone()
    };
    let case = said("secondary limit, with retry-after");
    hub.fault(Rule::new("GET", "/user", Fault::SecondaryLimit(403, Some(60))));
    let answer = get(&hub, &token, "/user").await;
    assert_eq!(
        (&case["status"], &case["body"]["message"]),
        (&json!(answer.status), &answer.body["message"])
    );
    assert_eq!(case["headers"]["retry-after"], answer.header("retry-after"));
    let case = said("comment too long");
    let body = json!({ "body": "a".repeat(65_537) });
    let answer = send(&hub, &token, "POST", COMMENTS, body).await;
    assert_eq!(
        (&case["status"], &case["body"]["errors"]),
        (&json!(answer.status), &answer.body["errors"])
    );
    assert_eq!(case["body"]["message"], answer.body["message"]);
}

#[tokio::test]
async fn what_is_known_costs_nothing() {
    let (hub, token) = hub();
    let first = get(&hub, &token, COMMENTS).await;
    let known = [("if-none-match", first.header("etag"))];
    let same = try_send(&hub, &token, "GET", COMMENTS, &known, None).await.unwrap();
    assert_eq!((same.status, same.header("x-ratelimit-used")), (304, "1"));
    assert_eq!(same.header("etag"), first.header("etag"));
    send(&hub, &token, "POST", COMMENTS, json!({ "body": "verdict" })).await;
    let changed = try_send(&hub, &token, "GET", COMMENTS, &known, None).await.unwrap();
    assert_eq!((changed.status, changed.header("x-ratelimit-used")), (200, "3"));
    assert_ne!(changed.header("etag"), first.header("etag"));
    // A write is never answered by 304, whatever its headers say.
    let body = Some(json!({ "body": "verdict" }));
    let any = [("if-none-match", changed.header("etag"))];
    let written = try_send(&hub, &token, "POST", COMMENTS, &any, body).await.unwrap();
    assert_eq!(written.status, 201);
}

#[tokio::test]
async fn a_single_thing_has_a_moment_of_its_last_change() {
    let (hub, token) = hub();
    let made = send(&hub, &token, "POST", COMMENTS, json!({ "body": "queued" })).await;
    let address = made.body["url"].as_str().unwrap();
    let first = get(&hub, &token, address).await;
    assert_eq!(first.header("last-modified"), "Thu, 01 Jan 2026 00:00:00 GMT");
    let since = [("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT")];
    let same = try_send(&hub, &token, "GET", address, &since, None).await.unwrap();
    assert_eq!(same.status, 304);
    hub.advance(Duration::from_secs(1));
    send(&hub, &token, "PATCH", address, json!({ "body": "done" })).await;
    let changed = try_send(&hub, &token, "GET", address, &since, None).await.unwrap();
    assert_eq!((changed.status, changed.header("date")), (200, "Thu, 01 Jan 2026 00:00:01 GMT"));
}

#[tokio::test]
async fn too_many_writes_in_a_minute_are_refused() {
    let (hub, token) = hub();
    let body = json!({ "content": "eyes" });
    let made = send(&hub, &token, "POST", COMMENTS, json!({ "body": "a" })).await;
    let reactions = format!("{}/reactions", made.body["url"].as_str().unwrap());
    for _ in 0..79 {
        assert!(send(&hub, &token, "POST", &reactions, body.clone()).await.status < 300);
    }
    hub.advance(Duration::from_secs(20));
    let refused = send(&hub, &token, "POST", &reactions, body.clone()).await;
    assert_eq!((refused.status, refused.header("retry-after")), (403, "40"));
    assert!(refused.message().starts_with("You have exceeded a secondary rate limit."));
    assert_eq!(get(&hub, &token, COMMENTS).await.status, 200);
    hub.advance(Duration::from_secs(40));
    assert_eq!(send(&hub, &token, "POST", &reactions, body).await.status, 200);
}
