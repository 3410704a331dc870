//! Who may do what, and what is not even seen.

use dyno_github_twin::Twin;
use serde_json::{Value, json};

use crate::client::{get, send};

/// A repository with one issue, one comment of `author`'s, and somebody of each role.
struct Place {
    hub: Twin,
    tokens: Vec<(&'static str, String)>,
    comment: u64,
    head: String,
}

impl Place {
    fn new(is_private: bool) -> Place {
        let hub = Twin::start();
        let mut repository = hub.repository("acme/widget");
        let mut tokens = vec![("nobody", String::new())];
        for (id, name) in ["none", "read", "triage", "write", "admin", "author"].iter().enumerate()
        {
            tokens.push((name, hub.account(name, 1000 + id as u64)));
            let role = if *name == "author" { "read" } else { name };
            repository = repository.permission(name, role);
        }
        if is_private {
            repository = repository.private();
        }
        let pull = repository.pull("author", "Faster parser");
        let comment = hub.comment_as("author", &pull, "@dyno run");
        let head = hub.head(&pull);
        Place { hub, tokens, comment, head }
    }

    fn token(&self, name: &str) -> &str {
        &self.tokens.iter().find(|(login, _)| *login == name).unwrap().1
    }
}

/// What is asked; then the statuses for nobody, none, read, triage, write, admin, author: of a
/// public repository, and of a private one.
type Row = (&'static str, &'static str, Value, [u16; 7], [u16; 7]);

fn table() -> Vec<Row> {
    let comments = "/repos/acme/widget/issues/1/comments";
    let labels = "/repos/acme/widget/issues/1/labels";
    let text = json!({ "body": "hello" });
    let hidden = [404, 404, 200, 200, 200, 200, 200];
    vec![
        ("GET", "/repos/acme/widget", Value::Null, [200; 7], hidden),
        ("GET", comments, Value::Null, [200; 7], hidden),
        ("GET", "/repos/acme/widget/pulls/1", Value::Null, [200; 7], hidden),
        ("GET", "/repos/acme/widget/contents/README.md", Value::Null, [200; 7], hidden),
        (
            "POST",
            comments,
            text.clone(),
            [401, 201, 201, 201, 201, 201, 201],
            [404, 404, 201, 201, 201, 201, 201],
        ),
        (
            "PATCH",
            "/repos/acme/widget/issues/comments/COMMENT",
            text,
            [401, 403, 403, 403, 200, 200, 200],
            [404, 404, 403, 403, 200, 200, 200],
        ),
        (
            "POST",
            labels,
            json!({ "labels": ["slow"] }),
            [401, 403, 403, 200, 200, 200, 403],
            [404, 404, 403, 200, 200, 200, 403],
        ),
        (
            "POST",
            "/repos/acme/widget/statuses/HEAD",
            json!({ "state": "success" }),
            [401, 403, 403, 403, 201, 201, 403],
            [404, 404, 403, 403, 201, 201, 403],
        ),
        (
            "GET",
            "/repos/acme/widget/collaborators/read/permission",
            Value::Null,
            [403, 403, 403, 403, 200, 200, 403],
            [404, 404, 403, 403, 200, 200, 403],
        ),
        (
            "POST",
            "/repos/acme/widget/check-runs",
            json!({ "name": "dyno", "head_sha": "HEAD" }),
            [401, 403, 403, 403, 403, 403, 403],
            [404, 404, 403, 403, 403, 403, 403],
        ),
        (
            "GET",
            "/user",
            Value::Null,
            [401, 200, 200, 200, 200, 200, 200],
            [401, 200, 200, 200, 200, 200, 200],
        ),
    ]
}

#[tokio::test]
async fn a_role_says_what_may_be_done_and_a_private_thing_is_not_found() {
    for is_private in [false, true] {
        let place = Place::new(is_private);
        for (method, target, body, public, private) in table() {
            let target = target.replace("COMMENT", &place.comment.to_string());
            let target = target.replace("HEAD", &place.head);
            let body = body.to_string().replace("HEAD", &place.head).parse::<Value>().unwrap();
            let mut seen = Vec::new();
            for (_, token) in &place.tokens {
                seen.push(send(&place.hub, token, method, &target, body.clone()).await.status);
            }
            let expected = if is_private { private } else { public };
            assert_eq!(seen, expected, "{method} {target}, private: {is_private}");
        }
        place.hub.finish();
    }
}

#[tokio::test]
async fn a_token_that_is_unknown_or_taken_back_is_refused() {
    let place = Place::new(false);
    let token = place.token("write");
    place.hub.revoke(token);
    for token in [token, "ghp_0"] {
        let answer = get(&place.hub, token, "/repos/acme/widget").await;
        assert_eq!((answer.status, answer.message()), (401, "Bad credentials"));
    }
}

#[tokio::test]
async fn a_fine_grained_token_may_what_its_permissions_say() {
    let place = Place::new(true);
    let hub = &place.hub;
    let comments = "/repos/acme/widget/issues/1/comments";
    let status = format!("/repos/acme/widget/statuses/{}", place.head);
    const NOTHING: &[(&str, &str)] = &[];
    let table = [
        (NOTHING, [200, 403, 403, 403]),
        (&[("issues", "read")], [200, 200, 403, 403]),
        (&[("pull_requests", "write")], [200, 200, 201, 403]),
        (&[("issues", "write"), ("statuses", "write")], [200, 200, 201, 201]),
    ];
    for (permissions, expected) in table {
        let token = hub.token("write", permissions);
        let permission = "/repos/acme/widget/collaborators/read/permission";
        let seen = [
            get(hub, &token, permission).await.status,
            get(hub, &token, comments).await.status,
            send(hub, &token, "POST", comments, json!({ "body": "hello" })).await.status,
            send(hub, &token, "POST", &status, json!({ "state": "success" })).await.status,
        ];
        assert_eq!(seen, expected, "{permissions:?}");
    }
}

#[tokio::test]
async fn a_permission_is_told_in_the_apis_words() {
    let place = Place::new(false);
    let hub = &place.hub;
    hub.account("maintainer", 1100);
    hub.repository("acme/widget").permission("maintainer", "maintain");
    let table = [
        ("none", "read", "read"),
        ("read", "read", "read"),
        ("triage", "read", "triage"),
        ("write", "write", "write"),
        ("maintainer", "write", "maintain"),
        ("admin", "admin", "admin"),
        ("READ", "read", "read"),
    ];
    for (login, permission, role) in table {
        let target = format!("/repos/ACME/Widget/collaborators/{login}/permission");
        let body = get(hub, place.token("admin"), &target).await.body;
        assert_eq!((&body["permission"], &body["role_name"]), (&json!(permission), &json!(role)));
    }
    let target = "/repos/acme/widget/collaborators/stranger/permission";
    assert_eq!(get(hub, place.token("admin"), target).await.status, 404);
    // A login that changed hands is another account.
    hub.rename("write", "writer");
    hub.account("write", 1666);
    let target = "/repos/acme/widget/collaborators/write/permission";
    let body = get(hub, place.token("admin"), target).await.body;
    assert_eq!((&body["permission"], &body["user"]["id"]), (&json!("read"), &json!(1666)));
}

#[tokio::test]
async fn a_team_has_members() {
    let place = Place::new(false);
    let hub = &place.hub;
    hub.team("acme", "perf", &["read", "write"]);
    let membership = |login: &str| format!("/orgs/acme/teams/perf/memberships/{login}");
    let token = place.token("read");
    assert_eq!(get(hub, token, &membership("write")).await.body["state"], "active");
    assert_eq!(get(hub, token, &membership("none")).await.status, 404);
    assert_eq!(get(hub, "", &membership("write")).await.status, 404);
}
