//! What an operation answers, before it becomes HTTP.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The reply of an operation: a body, or a list that the server cuts into pages.
pub(crate) struct Reply {
    pub status: u16,
    pub body: Option<Value>,
    pub headers: BTreeMap<&'static str, String>,
    /// The key of a list within an object, with its length beside it; or "" for a bare list.
    pub list: Option<&'static str>,
}

pub(crate) type Answer = Result<Reply, Reply>;

impl Reply {
    pub fn new(status: u16, body: Value) -> Reply {
        Reply { status, body: Some(body), headers: BTreeMap::new(), list: None }
    }

    pub fn empty(status: u16) -> Reply {
        Reply { status, body: None, headers: BTreeMap::new(), list: None }
    }

    pub fn list(items: Vec<Value>) -> Reply {
        Reply { list: Some(""), ..Reply::new(200, items.into()) }
    }

    pub fn list_under(key: &'static str, items: Vec<Value>, around: Value) -> Reply {
        let mut body = around;
        body["total_count"] = items.len().into();
        body[key] = items.into();
        Reply { list: Some(key), ..Reply::new(200, body) }
    }

    /// A refusal, in the form of GitHub's `basic-error`.
    pub fn refusal(status: u16, message: &str) -> Reply {
        let documentation = "https://docs.github.com/rest";
        let body = json!({
            "message": message,
            "documentation_url": documentation,
            "status": status.to_string(),
        });
        Reply::new(status, body)
    }

    pub fn not_found() -> Reply {
        Reply::refusal(404, "Not Found")
    }

    /// A body that GitHub understands and does not accept.
    pub fn invalid(resource: &str, field: &str, code: &str, message: Option<&str>) -> Reply {
        let mut error = json!({ "resource": resource, "field": field, "code": code });
        if let Some(message) = message {
            error["message"] = message.into();
        }
        let mut reply = Reply::refusal(422, "Validation Failed");
        reply.body.as_mut().unwrap()["errors"] = json!([error]);
        reply
    }

    pub fn header(mut self, name: &'static str, value: impl ToString) -> Reply {
        self.headers.insert(name, value.to_string());
        self
    }

    /// Leaves the page that the query asks for, and says by `Link` where the others are.
    pub fn cut(&mut self, query: &[(String, String)], address: &str) {
        let (Some(key), Some(body)) = (self.list, &mut self.body) else { return };
        let items = if key.is_empty() { body } else { &mut body[key] };
        let Some(items) = items.as_array_mut() else { return };
        let number = |name: &str, default: usize| {
            let found = query.iter().find(|(key, _)| key == name);
            found.and_then(|(_, value)| value.parse().ok()).unwrap_or(default).max(1)
        };
        let (size, page) = (number("per_page", 30).min(100), number("page", 1));
        let last = items.len().div_ceil(size).max(1);
        let start = (size * (page - 1)).min(items.len());
        let end = (start + size).min(items.len());
        *items = items[start..end].to_vec();
        let mut links = Vec::new();
        let mut link = |to: usize, relation: &str| {
            let mut url = url::form_urlencoded::Serializer::new(String::new());
            url.extend_pairs(query.iter().filter(|(name, _)| name != "page"));
            let url = url.append_pair("page", &to.to_string()).finish();
            links.push(format!("<{address}?{url}>; rel=\"{relation}\""));
        };
        if page > 1 {
            link((page - 1).min(last), "prev");
        }
        if page < last {
            link(page + 1, "next");
            link(last, "last");
        }
        if page > 1 {
            link(1, "first");
        }
        if !links.is_empty() {
            self.headers.insert("link", links.join(", "));
        }
    }
}
