//! Webhook deliveries.

use std::sync::{Arc, Mutex};

use dyno_github_twin::Twin;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use ring::hmac;
use serde_json::{Value, json};

/// The headers and body that a listener has received.
type Received = Arc<Mutex<Vec<(hyper::HeaderMap, Bytes)>>>;

/// A listener that answers every delivery with 202.
async fn listener() -> (String, Received) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}/hook", listener.local_addr().unwrap());
    let received = Received::default();
    let kept = received.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = kept.clone();
            let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                let kept = kept.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    kept.lock().unwrap().push((head.headers, body));
                    let reply = hyper::Response::builder().status(202);
                    Ok::<_, std::convert::Infallible>(reply.body(Full::<Bytes>::default()).unwrap())
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        }
    });
    (address, received)
}

#[tokio::test]
async fn what_happens_to_a_comment_is_delivered_and_signed() {
    let hub = Twin::start();
    hub.account("alice", 1001);
    let pull = hub.repository("acme/widget").pull("alice", "Faster parser");
    let app = hub.app("dyno", 42);
    let installation = hub.install(&app, &["acme/widget"], &[("issues", "write")]);
    let comment = hub.comment_as("alice", &pull, "@dyno run");
    hub.edit_as("alice", &pull, comment, "@dyno cancel");
    hub.delete_as("alice", &pull, comment);
    let issue = hub.repository("acme/widget").issue("alice", "Slow");
    hub.comment_as("alice", &issue, "@dyno help");
    let deliveries = hub.deliveries("It's a Secret to Everybody");
    let (address, received) = listener().await;
    for delivery in &deliveries {
        assert_eq!(delivery.post(&address).await.unwrap(), 202);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"It's a Secret to Everybody");
    let mut seen = Vec::new();
    for (headers, body) in received.lock().unwrap().iter() {
        let header = |name: &str| headers[name].to_str().unwrap();
        let signature = header("x-hub-signature-256").strip_prefix("sha256=").unwrap();
        let bytes =
            (0..32).map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).unwrap());
        hmac::verify(&key, body, &bytes.collect::<Vec<u8>>()).unwrap();
        assert_eq!(header("x-github-event"), "issue_comment");
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body["installation"]["id"], installation);
        assert_eq!(body["sender"]["id"], 1001);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let before = text(&body["changes"]["body"]["from"]);
        let is_pull = body["issue"]["pull_request"].is_object();
        seen.push((text(&body["action"]), text(&body["comment"]["body"]), before, is_pull));
    }
    let expected = [
        ("created", "@dyno run", "", true),
        ("edited", "@dyno cancel", "@dyno run", true),
        ("deleted", "@dyno cancel", "", true),
        ("created", "@dyno help", "", false),
    ];
    let expected = expected.map(|(action, body, before, is_pull)| {
        (action.to_string(), body.to_string(), before.to_string(), is_pull)
    });
    assert_eq!(seen, expected);
    let ids: std::collections::BTreeSet<&String> = deliveries.iter().map(|it| &it.id).collect();
    assert_eq!(ids.len(), 4);
    assert!(hub.deliveries("It's a Secret to Everybody").is_empty());
    hub.finish();
}

#[tokio::test]
async fn a_webhook_is_tried_by_a_ping() {
    let hub = Twin::start();
    let (address, received) = listener().await;
    assert_eq!(hub.ping("secret").post(&address).await.unwrap(), 202);
    let received = received.lock().unwrap();
    assert_eq!(received[0].0["x-github-event"], "ping");
    let body: Value = serde_json::from_slice(&received[0].1).unwrap();
    assert_eq!(body["hook"]["events"], json!(["issue_comment"]));
    hub.finish();
}

#[tokio::test]
async fn a_delivery_is_posted_as_it_is_though_a_test_forged_it() {
    let hub = Twin::start();
    hub.account("alice", 1001);
    let issue = hub.repository("acme/widget").issue("alice", "Slow");
    hub.comment_as("alice", &issue, "@dyno run");
    let mut delivery = hub.deliveries("secret").remove(0);
    delivery.body = json!({ "action": "created" }).to_string().into_bytes();
    let (address, received) = listener().await;
    for _ in 0..2 {
        delivery.post(&address).await.unwrap();
    }
    let received = received.lock().unwrap();
    assert_eq!(received[0].1, &delivery.body[..]);
    assert_eq!(received[0].0["x-github-delivery"], received[1].0["x-github-delivery"]);
    assert_eq!(received[0].0["x-hub-signature-256"], *delivery.signature);
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    assert!(hmac::verify(&key, &delivery.body, &[0; 32]).is_err());
}
