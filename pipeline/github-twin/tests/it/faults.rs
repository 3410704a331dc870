//! What goes wrong on purpose, and what is a violation.

use std::time::Duration;

use dyno_github_twin::{Fault, Rule, Twin};
use serde_json::{Value, json};

use crate::client::{get, send, try_send};

const COMMENTS: &str = "/repos/acme/widget/issues/1/comments";

fn hub() -> (Twin, String, dyno_github_twin::Pull) {
    let hub = Twin::start();
    let token = hub.bot("dyno", 9000);
    let pull = hub.repository("acme/widget").issue("dyno", "Slow");
    (hub, token, pull)
}

/// Fault, the status that is seen, and whether the comment is there afterwards.
#[tokio::test]
async fn a_fault_is_before_or_after_the_write() {
    let table: &[(Fault, Option<u16>, bool)] = &[
        (Fault::Away, None, false),
        (Fault::ReplyLost, None, true),
        (Fault::Before(500), Some(500), false),
        (Fault::Before(404), Some(404), false),
        (Fault::Before(422), Some(422), false),
        (Fault::After(502), Some(502), true),
        (Fault::After(503), Some(503), true),
        (Fault::PrimaryLimit(403), Some(403), false),
        (Fault::PrimaryLimit(429), Some(429), false),
        (Fault::SecondaryLimit(403, Some(60)), Some(403), false),
        (Fault::SecondaryLimit(429, None), Some(429), false),
        (Fault::Slow(Duration::from_millis(1)), Some(201), true),
    ];
    for (fault, status, is_written) in table {
        let (hub, token, pull) = hub();
        hub.fault(Rule::new("POST", COMMENTS, fault.clone()));
        let body = Some(json!({ "body": "verdict" }));
        let answer = try_send(&hub, &token, "POST", COMMENTS, &[], body).await;
        assert_eq!(answer.as_ref().map(|answer| answer.status), *status, "{fault:?}");
        assert_eq!(hub.conversation(&pull).contains("verdict"), *is_written, "{fault:?}");
        assert_eq!(hub.requests()[0].status, *status, "{fault:?}");
        let Some(answer) = answer else { continue };
        let (is_used_up, wait) = match fault {
            Fault::PrimaryLimit(_) => (true, ""),
            Fault::SecondaryLimit(_, Some(_)) => (false, "60"),
            _ => (false, ""),
        };
        assert_eq!(answer.header("x-ratelimit-remaining") == "0", is_used_up, "{fault:?}");
        assert_eq!(answer.header("retry-after"), wait, "{fault:?}");
    }
}

#[tokio::test]
async fn a_rule_meets_the_nth_request_and_as_many_as_it_says() {
    let (hub, token, _) = hub();
    hub.fault(Rule::new("GET", "*/comments", Fault::Before(500)).nth(2).times(2));
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(get(&hub, &token, COMMENTS).await.status);
    }
    assert_eq!(seen, [200, 500, 500, 200]);
    hub.away(2);
    for expected in [None, None, Some(200)] {
        let answer = try_send(&hub, &token, "GET", COMMENTS, &[], None).await;
        assert_eq!(answer.map(|answer| answer.status), expected);
    }
}

#[tokio::test]
async fn a_reply_takes_forms_that_the_schemas_do_not_have() {
    let (hub, token, pull) = hub();
    let crab = octocrab::Octocrab::builder();
    let crab = crab.base_uri(hub.url()).unwrap().personal_token(token.clone()).build().unwrap();
    hub.fault(Rule::new("GET", "/rate_limit", Fault::rate_limit_without_rate()));
    let answer = get(&hub, &token, "/rate_limit").await;
    assert!(answer.body.get("rate").is_none() && answer.body["resources"].is_object());
    // A comment of an account that is gone: octocrab cannot read it.
    hub.account("mallory", 1666);
    let comment = hub.comment_as("mallory", &pull, "@dyno run");
    hub.delete_account("mallory");
    let answer = get(&hub, &token, COMMENTS).await;
    assert_eq!(answer.body[0]["user"], Value::Null);
    crab.issues("acme", "widget").get_comment(comment.into()).await.unwrap_err();
    assert!(hub.conversation(&pull).contains("\nghost:\n    @dyno run\n"));
    // A fork that is gone.
    hub.account("bob", 1002);
    let fork = hub.repository("acme/widget").fork("bob");
    let pull = fork.pull("bob", "Faster");
    fork.delete();
    let answer = get(&hub, &token, &format!("/repos/acme/widget/pulls/{}", pull.number)).await;
    assert_eq!((answer.status, &answer.body["head"]["repo"]), (200, &Value::Null));
    assert_eq!(answer.body["head"]["sha"], hub.head(&pull));
    hub.finish();
}

/// Method, target, headers, body; then the status and what the violation says.
type Row =
    (&'static str, &'static str, &'static [(&'static str, &'static str)], Value, u16, &'static str);

#[tokio::test]
async fn what_github_does_not_know_is_a_violation() {
    let table: &[Row] = &[
        ("GET", "/repos/acme/widget/hooks", &[], Value::Null, 404, "unknown route"),
        ("GET", "/repos/acme/../user", &[], Value::Null, 404, "unknown route"),
        ("PUT", COMMENTS, &[], json!({}), 404, "unknown method: GitHub has GET, POST"),
        (
            "GET",
            "/repos/acme/widget/issues/1/comments?sort=created",
            &[],
            Value::Null,
            422,
            "unknown query parameter sort",
        ),
        (
            "GET",
            "/repos/acme/widget/issues/1/comments?page=two",
            &[],
            Value::Null,
            422,
            "query parameter page: : \"two\" is not of type \"integer\"",
        ),
        (
            "GET",
            "/repos/acme/widget/issues/1/comments?since=yesterday",
            &[],
            Value::Null,
            422,
            "query parameter since: : \"yesterday\" is not a \"date-time\"",
        ),
        (
            "GET",
            "/repos/acme/widget/issues/one/comments",
            &[],
            Value::Null,
            422,
            "path parameter issue_number: : \"one\" is not of type \"integer\"",
        ),
        ("POST", COMMENTS, &[], json!({}), 422, ": \"body\" is a required property"),
        ("POST", COMMENTS, &[], json!({ "body": 1 }), 422, "/body: 1 is not of type \"string\""),
        (
            "POST",
            COMMENTS,
            &[],
            json!({ "body": "a", "text": "b" }),
            422,
            "unknown property text in the body",
        ),
        ("POST", COMMENTS, &[], Value::Null, 422, "no body"),
        ("GET", COMMENTS, &[("user-agent", "")], Value::Null, 403, "no user-agent"),
        (
            "GET",
            COMMENTS,
            &[("x-github-api-version", "2030-01-01")],
            Value::Null,
            400,
            "an API version that the twin's schemas are not of",
        ),
        (
            "GET",
            COMMENTS,
            &[("accept", "application/vnd.github.raw+json")],
            Value::Null,
            200,
            "the twin does not answer with application/vnd.github.raw+json",
        ),
        (
            "GET",
            "/repos/acme/widget/issues?labels=slow",
            &[],
            Value::Null,
            200,
            "the twin does not act on the query parameter labels",
        ),
    ];
    let (hub, token, pull) = hub();
    for (method, target, headers, body, status, violation) in table {
        let body = Some(body.clone()).filter(|body| !body.is_null());
        let answer = try_send(&hub, &token, method, target, headers, body).await.unwrap();
        assert_eq!(answer.status, *status, "{method} {target}");
        assert_eq!(hub.take_violations(), [format!("{method} {target}: {violation}")]);
    }
    assert_eq!(hub.conversation(&pull), "#1 Slow (open, by dyno)\n");
}

#[tokio::test]
async fn a_violation_fails_the_test_that_leaves_it() {
    for is_dropped in [true, false] {
        let (hub, token, _) = hub();
        send(&hub, &token, "POST", COMMENTS, json!({ "text": "a" })).await;
        let end = move || if is_dropped { drop(hub) } else { hub.finish() };
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(end)).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(
            text.contains("POST /repos/acme/widget/issues/1/comments: : \"body\" is"),
            "{text}"
        );
    }
}
