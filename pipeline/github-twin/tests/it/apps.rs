//! GitHub Apps: JSON web tokens, installations, their tokens, check runs.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dyno_github_twin::{App, Pull, Twin};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use crate::client::{get, send};

struct Place {
    hub: Twin,
    app: App,
    installation: u64,
    pull: Pull,
}

impl Place {
    fn new() -> Place {
        let hub = Twin::start();
        hub.account("alice", 1001);
        let pull = hub.repository("acme/widget").private().permission("alice", "read");
        let pull = pull.pull("alice", "Faster parser");
        hub.repository("acme/other").private();
        hub.repository("acme/third");
        let app = hub.app("dyno", 42);
        let permissions = [("issues", "write"), ("checks", "write"), ("contents", "read")];
        let installation = hub.install(&app, &["acme/widget", "acme/other"], &permissions);
        Place { hub, app, installation, pull }
    }

    fn jwt(&self) -> String {
        let now = self.hub.now();
        jwt(self.app.key, json!({ "iss": "42", "iat": now - 60, "exp": now + 540 }))
    }

    async fn token(&self, body: Value) -> crate::client::Answer {
        let target = format!("/app/installations/{}/access_tokens", self.installation);
        send(&self.hub, &self.jwt(), "POST", &target, body).await
    }
}

fn jwt(key: &str, claims: Value) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let lines: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    let pair = RsaKeyPair::from_der(&STANDARD.decode(lines).unwrap()).unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    let random = SystemRandom::new();
    pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn an_app_shows_itself_and_where_it_is_installed() {
    let place = Place::new();
    let (hub, jwt) = (&place.hub, place.jwt());
    let app = get(hub, &jwt, "/app").await.body;
    assert_eq!((&app["slug"], &app["id"]), (&json!("dyno"), &json!(42)));
    let installation = get(hub, &jwt, "/repos/acme/widget/installation").await.body;
    assert_eq!(installation["id"], place.installation);
    assert_eq!(get(hub, &jwt, "/app/installations").await.body[0]["id"], place.installation);
    assert_eq!(get(hub, &jwt, "/repos/acme/third/installation").await.status, 404);
    assert_eq!(hub.requests()[0].account.as_deref(), Some("app/dyno"));
}

#[tokio::test]
async fn a_json_web_token_that_github_would_refuse_is_refused() {
    let place = Place::new();
    let (hub, now, key) = (&place.hub, place.hub.now(), place.app.key);
    let good = place.jwt();
    let claims = |iss: Value, iat: i64, exp: i64| {
        jwt(key, json!({ "iss": iss, "iat": now + iat, "exp": now + exp }))
    };
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let forged =
        URL_SAFE_NO_PAD.encode(json!({ "iss": 42, "iat": now, "exp": now + 1 }).to_string());
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let (_, body) = signed.split_once('.').unwrap();
    let table = [
        ("good", good.clone(), 200),
        ("a number as issuer", claims(json!(42), -60, 600), 200),
        ("another's claims", format!("{header}.{forged}.{signature}"), 401),
        ("no signature", format!("{none}.{body}."), 401),
        ("no such App", claims(json!("43"), -60, 540), 401),
        ("eleven minutes", claims(json!("42"), 0, 660), 401),
        ("over", claims(json!("42"), -600, 0), 401),
        ("issued in the future", claims(json!("42"), 60, 300), 401),
    ];
    for (name, token, status) in table {
        assert_eq!(get(hub, &token, "/app").await.status, status, "{name}");
    }
    // It opens nothing but what is an App's own.
    assert_eq!(get(hub, &good, "/user").await.status, 403);
    assert_eq!(get(hub, &good, "/repos/acme/widget/pulls/1").await.status, 404);
}

#[tokio::test]
async fn an_installations_token_lives_an_hour_and_may_what_it_says() {
    let place = Place::new();
    let hub = &place.hub;
    let made = place.token(Value::Null).await;
    assert_eq!((made.status, &made.body["expires_at"]), (201, &json!("2026-01-01T01:00:00Z")));
    let token = made.body["token"].as_str().unwrap();
    let comments = "/repos/acme/widget/issues/1/comments";
    let said = send(hub, token, "POST", comments, json!({ "body": "queued" })).await;
    assert_eq!((said.status, &said.body["user"]["login"]), (201, &json!("dyno[bot]")));
    assert_eq!(said.body["performed_via_github_app"]["slug"], "dyno");
    let status = format!("/repos/acme/widget/statuses/{}", hub.head(&place.pull));
    let refused = send(hub, token, "POST", &status, json!({ "state": "success" })).await;
    assert_eq!(refused.message(), "Resource not accessible by integration");
    for target in ["/user", "/app"] {
        assert!([401, 403].contains(&get(hub, token, target).await.status), "{target}");
    }
    // Fewer rights, and never more.
    let fewer = place.token(json!({ "permissions": { "issues": "read" } })).await.body;
    let fewer = fewer["token"].as_str().unwrap();
    assert_eq!(get(hub, fewer, comments).await.status, 200);
    assert_eq!(send(hub, fewer, "POST", comments, json!({ "body": "a" })).await.status, 403);
    assert_eq!(place.token(json!({ "permissions": { "statuses": "write" } })).await.status, 422);
    // For one repository of several, and for none that the App is not installed in.
    for (name, status) in [("widget", 200), ("other", 404)] {
        let body = json!({ "repositories": [name] });
        let only = place.token(body).await.body["token"].as_str().unwrap().to_string();
        assert_eq!(get(hub, &only, comments).await.status, status, "{name}");
    }
    assert_eq!(place.token(json!({ "repositories": ["third"] })).await.status, 422);
    hub.advance(Duration::from_secs(3599));
    assert_eq!(get(hub, token, comments).await.status, 200);
    hub.advance(Duration::from_secs(1));
    assert_eq!(get(hub, token, comments).await.status, 401);
}

/// Requests for one check run, one after the other, and how the conversation shows it after each.
#[tokio::test]
async fn a_check_run_goes_through_its_states() {
    let place = Place::new();
    let hub = &place.hub;
    let made = place.token(Value::Null).await.body;
    let token = made["token"].as_str().unwrap();
    let head = hub.head(&place.pull);
    let shown = || {
        let text = hub.conversation(&place.pull);
        text.lines().filter(|line| line.starts_with("check")).collect::<Vec<_>>().join("; ")
    };
    let runs = "/repos/acme/widget/check-runs";
    let body = json!({ "name": "dyno: lua", "head_sha": head, "status": "in_progress" });
    let run = send(hub, token, "POST", runs, body).await.body;
    assert_eq!(run["app"]["slug"], "dyno");
    assert_eq!(run["pull_requests"][0]["number"], 1);
    assert_eq!(shown(), "check dyno: lua: in_progress");
    let own = format!("{runs}/{}", run["id"]);
    let output = json!({ "title": "2 regressed", "summary": "…" });
    let body = json!({ "conclusion": "neutral", "output": output });
    assert_eq!(send(hub, token, "PATCH", &own, body).await.body["status"], "completed");
    assert_eq!(shown(), "check dyno: lua: completed, neutral: 2 regressed");
    // Another run of the same name stands before the old one; one of another name beside it.
    for (name, status) in [("dyno: lua", "queued"), ("dyno: duck", "queued")] {
        let body = json!({ "name": name, "head_sha": head, "status": status });
        assert_eq!(send(hub, token, "POST", runs, body).await.status, 201);
    }
    assert_eq!(shown(), "check dyno: lua: queued; check dyno: duck: queued");
    let list = format!("/repos/acme/widget/commits/{head}/check-runs");
    assert_eq!(get(hub, token, &list).await.body["total_count"], 2);
    assert_eq!(get(hub, token, &format!("{list}?filter=all")).await.body["total_count"], 3);
    let named = format!("{list}?check_name=dyno:%20lua");
    assert_eq!(get(hub, token, &named).await.body["check_runs"][0]["status"], "queued");
    // What GitHub refuses.
    let refused = [
        ("POST", runs, json!({ "name": "a", "head_sha": "0".repeat(40) })),
        ("POST", runs, json!({ "name": "a", "head_sha": &head[..7] })),
        ("POST", runs, json!({ "name": "a", "head_sha": head, "status": "completed" })),
    ];
    for (method, target, body) in refused {
        assert_eq!(send(hub, token, method, target, body.clone()).await.status, 422, "{body}");
    }
    let other = hub.app("other", 43);
    let installation = hub.install(&other, &["acme/widget"], &[("checks", "write")]);
    let claims = json!({ "iss": 43, "iat": hub.now(), "exp": hub.now() + 60 });
    let target = format!("/app/installations/{installation}/access_tokens");
    let made = send(hub, &jwt(other.key, claims), "POST", &target, Value::Null).await.body;
    let other = made["token"].as_str().unwrap();
    let body = json!({ "conclusion": "success" });
    assert_eq!(send(hub, other, "PATCH", &own, body).await.status, 403);
}
