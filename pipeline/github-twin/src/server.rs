//! The server: from HTTP to an operation and back, with limits, ETags, faults and a log.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::digest;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::access::{account_of, authenticate};
use crate::fault::{self, Fault, Rule};
use crate::limits::{self, Limits};
use crate::operations::{self, Call};
use crate::reply::{Answer, Reply};
use crate::schemas::{self, Route};
use crate::state::{Bearer, State, Token, hex};

/// The version of the API whose schemas the twin has.
const API_VERSION: &str = "2022-11-28";

/// The media types of JSON as the schemas have it.
const MEDIA_TYPES: &[&str] =
    &["*/*", "application/json", "application/vnd.github+json", "application/vnd.github.v3+json"];

/// A request as it came, and what was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The login of the token's account, or `app/` and an App's name; none without a token.
    pub account: Option<String>,
    /// None where no reply was sent.
    pub status: Option<u16>,
}

/// All that one server holds.
pub(crate) struct Hub {
    pub state: State,
    pub limits: Limits,
    pub rules: Vec<Rule>,
    pub requests: Vec<Request>,
    pub violations: Vec<String>,
}

impl Hub {
    pub fn new(origin: String) -> Hub {
        Hub {
            state: State::new(origin),
            limits: Limits::default(),
            rules: Vec::new(),
            requests: Vec::new(),
            violations: Vec::new(),
        }
    }
}

/// A request's parts, read to the end.
struct Asked {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    target: String,
    headers: hyper::HeaderMap,
    body: Bytes,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Serves until the task is dropped, and every connection with it.
pub(crate) async fn serve(listener: TcpListener, hub: Arc<Mutex<Hub>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let hub = hub.clone();
        let service = service_fn(move |request| exchange(hub.clone(), request));
        connections.spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            // An error is a client that went away, or a reply that the test has us lose.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// The connection is to close without a reply.
#[derive(Debug)]
struct Close;

impl std::fmt::Display for Close {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "closed on purpose")
    }
}

impl std::error::Error for Close {}

async fn exchange(
    hub: Arc<Mutex<Hub>>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Close> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Close)?.to_bytes();
    let query = head.uri.query().unwrap_or_default();
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_string(),
        query,
        target: head.uri.to_string(),
        headers: head.headers,
        body,
    };
    let fault = {
        let hub = &mut *hub.lock().unwrap();
        fault::next(&mut hub.rules, &asked.method, &asked.path)
    };
    if let Some(Fault::Slow(time)) = fault {
        tokio::time::sleep(time).await;
    }
    hub.lock().unwrap().answer(&asked, fault)
}

impl Hub {
    fn answer(
        &mut self,
        asked: &Asked,
        fault: Option<Fault>,
    ) -> Result<hyper::Response<Full<Bytes>>, Close> {
        let token = authenticate(&self.state, asked.header("authorization"));
        let account = token.as_ref().ok().and_then(|token| self.name_of(token));
        let key = account.clone().unwrap_or_default();
        let now = self.state.now;
        let outcome = match &fault {
            Some(Fault::Away) => Err(Close),
            Some(Fault::Before(status)) => Ok(Reply::refusal(*status, Fault::message(*status))),
            Some(Fault::PrimaryLimit(status)) => {
                self.limits.exhaust(&key, now);
                Ok(limits::exhausted(*status))
            }
            Some(Fault::SecondaryLimit(status, wait)) => Ok(limits::secondary(*status, *wait)),
            Some(Fault::ReplyLost) => {
                self.perform(asked, token, &key);
                Err(Close)
            }
            Some(Fault::After(status)) => {
                self.perform(asked, token, &key);
                Ok(Reply::refusal(*status, Fault::message(*status)))
            }
            Some(Fault::Edit(change)) => {
                let mut reply = self.perform(asked, token, &key);
                reply.body.iter_mut().for_each(|body| change(body));
                Ok(reply)
            }
            Some(Fault::Slow(_)) | None => Ok(self.perform(asked, token, &key)),
        };
        let outcome = outcome.map(|reply| self.conditional(asked, reply, &key));
        self.requests.push(Request {
            method: asked.method.clone(),
            path: asked.target.clone(),
            account,
            status: outcome.as_ref().ok().map(|reply| reply.status),
        });
        outcome.map(|reply| self.response(reply, &key))
    }

    /// The name by which a token's owner stands in the log.
    fn name_of(&self, token: &Token) -> Option<String> {
        if let Bearer::App(app) = token.bearer {
            return Some(format!("app/{}", self.state.apps[&app].slug));
        }
        let account = account_of(&self.state, token.bearer)?;
        Some(self.state.login(account).to_string())
    }

    fn violation(&mut self, asked: &Asked, what: &str) {
        self.violations.push(format!("{} {}: {what}", asked.method, asked.target));
    }

    /// Does what is asked and gives the reply.
    fn perform(&mut self, asked: &Asked, token: Result<Token, Reply>, key: &str) -> Reply {
        self.check_headers(asked)
            .and(token)
            .and_then(|token| self.attempt(asked, token, key))
            .unwrap_or_else(|refusal| refusal)
    }

    /// The reply to a request, complete and validated, or the refusal before there is one.
    fn attempt(&mut self, asked: &Asked, token: Token, key: &str) -> Answer {
        let route = self.route(asked)?;
        let operation = route.operation;
        let is_write = asked.method != "GET";
        if operation != "rate-limit/get" {
            let creates = is_write && !operation.starts_with("apps/");
            self.limits.take(key, self.state.now, creates)?;
        }
        let body = match asked.body.as_ref() {
            b"" => Ok(None),
            bytes => serde_json::from_slice::<Value>(bytes).map(Some),
        };
        let body = body.map_err(|_| {
            self.violation(asked, "a body that is no JSON");
            Reply::refusal(400, "Problems parsing JSON")
        })?;
        for (name, _) in &asked.query {
            if !operations::is_served(operation, name) {
                let what = format!("the twin does not act on the query parameter {name}");
                self.violation(asked, &what);
            }
        }
        let mistakes = schemas::request_mistakes(&route, &asked.query, &body);
        if !mistakes.is_empty() {
            mistakes.iter().for_each(|mistake| self.violation(asked, mistake));
            return Err(Reply::refusal(422, "Invalid request."));
        }
        let mut reply = if operation == "rate-limit/get" {
            self.rate_limit(key)
        } else {
            let query = asked.query.clone();
            let call = Call::new(&self.state, route, query, body, token, is_write);
            let answer = call.and_then(|call| {
                let mut reply = operations::perform(&mut self.state, &call)?;
                reply.cut(&asked.query, &self.numbered(&asked.path, call.repository));
                Ok(reply)
            });
            answer.unwrap_or_else(|refusal| refusal)
        };
        self.validate(asked, operation, &mut reply);
        Ok(reply)
    }

    fn check_headers(&mut self, asked: &Asked) -> Result<(), Reply> {
        if asked.header("user-agent").is_none() {
            self.violation(asked, "no user-agent");
            return Err(Reply::refusal(403, "Request forbidden by administrative rules."));
        }
        if asked.header("x-github-api-version").is_some_and(|version| version != API_VERSION) {
            self.violation(asked, "an API version that the twin's schemas are not of");
            return Err(Reply::refusal(400, "The API version is not supported"));
        }
        if let Some(accept) = asked.header("accept").filter(|accept| !MEDIA_TYPES.contains(accept))
        {
            self.violation(asked, &format!("the twin does not answer with {accept}"));
        }
        Ok(())
    }

    /// The operation that is asked for; what GitHub does not know is a violation.
    fn route(&mut self, asked: &Asked) -> Result<Route, Reply> {
        schemas::route(&asked.method, &self.named(&asked.path)).map_err(|methods| {
            let what = match methods.join(", ") {
                none if none.is_empty() => "unknown route".to_string(),
                methods => format!("unknown method: GitHub has {methods}"),
            };
            self.violation(asked, &what);
            Reply::not_found()
        })
    }

    /// Fills in a reply and notes what GitHub's schema would not allow in it.
    fn validate(&mut self, asked: &Asked, operation: &str, reply: &mut Reply) {
        let status = reply.status;
        let origin = self.state.origin.clone();
        if let Some(body) = &mut reply.body {
            schemas::complete_reply(operation, status, body, &origin);
        }
        let mut checked = reply.body.clone();
        // A fork that is deleted leaves null, which the schema of a pull request does not know.
        if let Some(body) = checked.as_mut().filter(|_| operation == "pulls/get" && status == 200)
            && body["head"]["repo"].is_null()
        {
            body["head"]["repo"] = body["base"]["repo"].clone();
        }
        for mistake in schemas::reply_mistakes(operation, status, &checked) {
            self.violation(asked, &format!("the twin's own reply {status} is wrong: {mistake}"));
        }
    }

    /// A path by a repository's number, as `Link` has it, as the path by its name.
    fn named(&self, path: &str) -> String {
        let rest = path.strip_prefix("/repositories/");
        let Some((id, rest)) = rest.and_then(|rest| rest.split_once('/')) else {
            return path.to_string();
        };
        let found = id.parse().ok().and_then(|id: u64| self.state.repositories.get(&id));
        found.map_or(path.to_string(), |found| format!("/repos/{}/{rest}", found.full_name()))
    }

    /// The address of a list by its repository's number, as GitHub writes it in `Link`.
    fn numbered(&self, path: &str, repository: u64) -> String {
        let rest = path.strip_prefix("/repos/").map(|rest| rest.splitn(3, '/').nth(2));
        let path = match rest {
            Some(rest) => format!("/repositories/{repository}/{}", rest.unwrap_or_default()),
            None => path.to_string(),
        };
        format!("{}{path}", self.state.origin)
    }

    fn rate_limit(&mut self, key: &str) -> Reply {
        let budget = *self.limits.budget(key, self.state.now);
        let core = json!({
            "limit": budget.limit,
            "used": budget.used,
            "remaining": budget.remaining(),
            "reset": budget.reset,
        });
        Reply::new(200, json!({ "resources": { "core": core, "search": core }, "rate": core }))
    }

    /// Marks what a client may keep, and answers 304 where it reads what it has already, at no cost.
    fn conditional(&mut self, asked: &Asked, reply: Reply, key: &str) -> Reply {
        let is_read = asked.method == "GET";
        let body = reply.body.as_ref().filter(|_| reply.status < 300);
        let Some(body) = body else { return reply };
        let modified =
            body["updated_at"].as_str().filter(|_| is_read).and_then(|text| text.parse().ok());
        let modified = modified.map(|at: chrono::DateTime<chrono::Utc>| http_date(at.timestamp()));
        let links = reply.headers.get("link");
        let digest = digest::digest(&digest::SHA256, format!("{body}{links:?}").as_bytes());
        let etag = format!("W/\"{}\"", hex(digest.as_ref()));
        let known = asked.header("if-none-match");
        let is_known = match known {
            Some(tags) => tags.split(',').any(|tag| strong(tag) == strong(&etag)),
            None => modified.is_some() && asked.header("if-modified-since") == modified.as_deref(),
        };
        let is_free = asked.path != "/rate_limit" && !key.is_empty();
        let mut reply = reply;
        if is_read && is_known {
            if is_free {
                self.limits.give_back(key, self.state.now);
            }
            reply = Reply { body: None, status: 304, ..reply };
        }
        if let Some(modified) = modified {
            reply = reply.header("last-modified", modified);
        }
        reply.header("cache-control", "private, max-age=60, s-maxage=60").header("etag", etag)
    }

    fn response(&mut self, reply: Reply, key: &str) -> hyper::Response<Full<Bytes>> {
        let budget = *self.limits.budget(key, self.state.now);
        let mut response = hyper::Response::builder()
            .status(reply.status)
            .header("date", http_date(self.state.now))
            .header("x-github-media-type", "github.v3; format=json")
            .header("x-ratelimit-limit", budget.limit)
            .header("x-ratelimit-remaining", budget.remaining())
            .header("x-ratelimit-used", budget.used)
            .header("x-ratelimit-reset", budget.reset)
            .header("x-ratelimit-resource", "core");
        for (name, value) in &reply.headers {
            response = response.header(*name, value);
        }
        let body = reply.body.map(|body| {
            response.headers_mut().unwrap().insert(
                "content-type",
                hyper::header::HeaderValue::from_static("application/json; charset=utf-8"),
            );
            body.to_string()
        });
        response.body(Full::from(body.unwrap_or_default())).unwrap()
    }
}

/// The part of an ETag that is compared where weak ones count too.
fn strong(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

fn http_date(seconds: i64) -> String {
    let moment = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    moment.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Runs a server on a thread of its own, so that tests may block; it ends when `end` is dropped.
pub(crate) fn spawn(
    listener: std::net::TcpListener,
    hub: Arc<Mutex<Hub>>,
    end: tokio::sync::oneshot::Receiver<Infallible>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            tokio::select! {
                () = serve(listener, hub) => {}
                _ = end => {}
            }
        });
    })
}
