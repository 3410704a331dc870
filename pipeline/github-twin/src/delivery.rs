//! Webhook deliveries: what GitHub would post for what happened.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use ring::{digest, hmac};
use serde_json::json;

use crate::json;
use crate::schemas;
use crate::state::{Event, State, hex};

/// A delivery, signed. A test may change any of it before it posts it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The header `X-GitHub-Event`.
    pub event: String,
    /// The header `X-GitHub-Delivery`: the same when a delivery is repeated.
    pub id: String,
    /// The header `X-Hub-Signature-256`.
    pub signature: String,
    pub body: Vec<u8>,
}

/// The delivery of an event, and what GitHub's schema would not allow in it.
pub(crate) fn make(state: &mut State, event: &Event, secret: &str) -> (Delivery, Vec<String>) {
    let serial = state.new_id();
    let Some(repository) = state.repositories.get(&event.repository) else {
        return (sign("issue_comment", serial, secret, b"{}".to_vec()), Vec::new());
    };
    let mut body = json!({
        "action": event.action,
        "comment": json::comment(state, repository, &event.comment),
        "issue": json::issue(state, repository, &repository.issues[&event.comment.issue]),
        "repository": json::repository(state, repository),
        "sender": json::user(state, event.sender),
    });
    if let Some(before) = &event.body_before {
        body["changes"] = json!({ "body": { "from": before } });
    }
    let is_installed = |it: &&crate::state::Installation| it.repositories.contains(&repository.id);
    if let Some(installation) = state.installations.values().find(is_installed) {
        body["installation"] = json!({ "id": installation.id, "node_id": "" });
    }
    let name = format!("issue-comment-{}", event.action);
    let mistakes = schemas::complete_delivery(&name, &mut body, &state.origin);
    let mistakes = mistakes.into_iter().map(|mistake| format!("delivery {name}: {mistake}"));
    let delivery = sign("issue_comment", serial, secret, body.to_string().into_bytes());
    (delivery, mistakes.collect())
}

/// The delivery by which GitHub tries a new webhook.
pub(crate) fn ping(state: &mut State, secret: &str) -> (Delivery, Vec<String>) {
    let serial = state.new_id();
    let mut body = json!({
        "zen": "Keep it logically awesome.",
        "hook_id": 1,
        "hook": { "id": 1, "type": "Repository", "name": "web", "events": ["issue_comment"] },
    });
    let mistakes = schemas::complete_delivery("ping", &mut body, &state.origin);
    let mistakes = mistakes.into_iter().map(|mistake| format!("delivery ping: {mistake}"));
    (sign("ping", serial, secret, body.to_string().into_bytes()), mistakes.collect())
}

fn sign(event: &str, serial: u64, secret: &str, body: Vec<u8>) -> Delivery {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = format!("sha256={}", hex(hmac::sign(&key, &body).as_ref()));
    let digits = hex(digest::digest(&digest::SHA256, &serial.to_be_bytes()).as_ref());
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..32]];
    Delivery { event: event.into(), id: parts.join("-"), signature, body }
}

impl Delivery {
    /// Posts the delivery to an address on loopback and gives the status that was answered.
    pub async fn post(&self, address: &str) -> std::io::Result<u16> {
        let address = url::Url::parse(address).map_err(std::io::Error::other)?;
        let host = address.host_str().unwrap_or_default();
        let port = address.port_or_known_default().unwrap_or(80);
        let stream = tokio::net::TcpStream::connect((host, port)).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
                .await
                .map_err(std::io::Error::other)?;
        let request = hyper::Request::post(address.path())
            .header("host", format!("{host}:{port}"))
            .header("user-agent", "GitHub-Hookshot/044aadd")
            .header("content-type", "application/json")
            .header("x-github-event", &self.event)
            .header("x-github-delivery", &self.id)
            .header("x-github-hook-id", "1")
            .header("x-github-hook-installation-target-id", "1")
            .header("x-github-hook-installation-target-type", "repository")
            .header("x-hub-signature-256", &self.signature)
            .body(Full::from(self.body.clone()))
            .map_err(std::io::Error::other)?;
        let connection = tokio::spawn(connection);
        let reply = sender.send_request(request).await.map_err(std::io::Error::other)?;
        let status = reply.status().as_u16();
        let _ = reply.into_body().collect().await;
        drop(sender);
        let _ = connection.await;
        Ok(status)
    }
}
