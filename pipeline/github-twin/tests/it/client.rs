//! A client without opinions: one request, one connection.

use std::collections::BTreeMap;

use dyno_github_twin::Twin;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;

pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// Sends a request and gives the answer, or none where the connection closed without one. The token
/// may be empty; `target` is a path with its query, or an address of the twin.
pub async fn try_send(
    hub: &Twin,
    token: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Option<Answer> {
    let origin = hub.url();
    let host = origin.trim_start_matches("http://");
    let stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let path = target.strip_prefix(&origin).unwrap_or(target);
    let mut request = hyper::Request::builder().method(method).uri(path).header("host", host);
    if !headers.iter().any(|(name, _)| *name == "user-agent") {
        request = request.header("user-agent", "test");
    }
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let answer = sender.send_request(request.body(Full::from(body)).unwrap()).await.ok()?;
    let status = answer.status().as_u16();
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap().to_string();
    let headers =
        answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let bytes = answer.into_body().collect().await.ok()?.to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Some(Answer { status, headers, body })
}

pub async fn get(hub: &Twin, token: &str, target: &str) -> Answer {
    try_send(hub, token, "GET", target, &[], None).await.unwrap()
}

pub async fn send(hub: &Twin, token: &str, method: &str, target: &str, body: Value) -> Answer {
    let body = Some(body).filter(|body| !body.is_null());
    try_send(hub, token, method, target, &[], body).await.unwrap()
}

/// Follows `Link` from a list's first page to its last, and gives all items.
pub async fn all_pages(hub: &Twin, token: &str, target: &str) -> Vec<Value> {
    let (mut items, mut next) = (Vec::new(), Some(target.to_string()));
    while let Some(target) = next {
        let page = get(hub, token, &target).await;
        assert_eq!(page.status, 200, "{target}");
        items.extend(page.body.as_array().unwrap().clone());
        next = link(&page, "next");
    }
    items
}

/// The address that `Link` gives for a relation.
pub fn link(answer: &Answer, relation: &str) -> Option<String> {
    let wanted = format!("rel=\"{relation}\"");
    let found = answer.header("link").split(", ").find(|link| link.ends_with(&wanted))?;
    found.split(['<', '>']).nth(1).map(str::to_string)
}
