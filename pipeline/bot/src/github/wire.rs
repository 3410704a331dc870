//! One exchange with GitHub, by octocrab, which does nothing by itself here: no repetition, no cache,
//! no waiting for the end of a limit, no redirection.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, IF_NONE_MATCH};
use octocrab::Octocrab;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

/// The version of the API that the bot knows.
const API_VERSION: &str = "2022-11-28";

/// Bytes beyond which a reply is not read.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// How long a reply is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Patch,
    Delete,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub url: Url,
    pub token: SecretString,
    /// The ETag of what is known already; of a `GET` alone.
    pub etag: Option<String>,
    pub body: Option<Value>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Who carries requests to GitHub, each once.
pub trait Transport: Send + Sync {
    /// What came back; an error where nothing did, and what was asked may be done all the same.
    fn send(&self, call: Call) -> impl Future<Output = Result<Answer, String>> + Send;
}

/// The transport of the binary.
pub struct Wire(Octocrab);

impl Wire {
    /// A client; it is made within a runtime.
    ///
    /// # Errors
    /// Why there is none, such as a machine without certificates.
    pub fn new() -> Result<Self, String> {
        let built = Octocrab::builder().build();
        built.map(Self).map_err(|error| format!("GitHub's client: {error}"))
    }
}

impl Transport for Wire {
    async fn send(&self, call: Call) -> Result<Answer, String> {
        let mut token = HeaderValue::try_from(format!("Bearer {}", call.token.expose_secret()))
            .map_err(|_| "the token has characters that no header can have")?;
        token.set_sensitive(true);
        let mut request = hyper::Request::builder()
            .method(call.method.name())
            .uri(call.url.as_str())
            .header(AUTHORIZATION, token)
            .header(ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", API_VERSION);
        if let Some(etag) = call.etag.filter(|_| call.method == Method::Get) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let body = call.body.map(|body| body.to_string());
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(body.unwrap_or_default()).map_err(|error| error.to_string())?;
        let exchange = async {
            let reply = self.0.execute(request).await.map_err(causes)?;
            let status = reply.status().as_u16();
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = reply.headers().iter();
            let headers = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
            let body = Limited::new(reply.into_body(), REPLY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes().to_vec();
            Ok(Answer { status, headers, body })
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no reply within {} s", PATIENCE.as_secs())),
        }
    }
}

/// An error and what is below it, in a line.
fn causes(error: octocrab::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text.lines().next().unwrap_or_default().to_string()
}
