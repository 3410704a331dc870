//! What goes wrong on purpose.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

/// What happens to a request instead of what it asked for, or beside it.
#[derive(Clone)]
pub enum Fault {
    /// The connection closes before anything is done.
    Away,
    /// What was asked for is done, and the connection closes without a word of it.
    ReplyLost,
    /// This status is answered, and nothing is done.
    Before(u16),
    /// What was asked for is done, and this status is answered.
    After(u16),
    /// The hour's requests are used up, told with this status: 403 or 429.
    PrimaryLimit(u16),
    /// The secondary limit is reached, told with this status; `retry-after` is said or not.
    SecondaryLimit(u16, Option<u64>),
    /// The reply comes after this time.
    Slow(Duration),
    /// The reply's body is changed: for what GitHub does and its schemas do not say.
    Edit(Arc<dyn Fn(&mut Value) + Send + Sync>),
}

impl Fault {
    pub fn edit(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Fault {
        Fault::Edit(Arc::new(change))
    }

    /// The reply to `GET /rate_limit` of API version 2026-03-10, which has no `rate` any more.
    pub fn rate_limit_without_rate() -> Fault {
        Fault::edit(|body| {
            body.as_object_mut().and_then(|object| object.remove("rate"));
        })
    }

    pub(crate) fn message(status: u16) -> &'static str {
        match status {
            404 => "Not Found",
            422 => "Validation Failed",
            500 => "Server Error",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            _ => "Something went wrong",
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Away => write!(to, "Away"),
            Fault::ReplyLost => write!(to, "ReplyLost"),
            Fault::Before(status) => write!(to, "Before({status})"),
            Fault::After(status) => write!(to, "After({status})"),
            Fault::PrimaryLimit(status) => write!(to, "PrimaryLimit({status})"),
            Fault::SecondaryLimit(status, wait) => write!(to, "SecondaryLimit({status}, {wait:?})"),
            Fault::Slow(time) => write!(to, "Slow({time:?})"),
            Fault::Edit(_) => write!(to, "Edit"),
        }
    }
}

/// Which requests meet a fault: those with this method and path, where `*` is any text, after some
/// that pass. An empty method is any.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) pass: usize,
    pub(crate) times: usize,
    pub(crate) fault: Fault,
}

impl Rule {
    pub fn new(method: &str, path: &str, fault: Fault) -> Rule {
        Rule { method: method.into(), path: path.into(), pass: 0, times: 1, fault }
    }

    /// Only the nth request that matches meets the fault, the first being 1.
    pub fn nth(self, n: usize) -> Rule {
        Rule { pass: n.saturating_sub(1), ..self }
    }

    /// So many requests one after the other meet the fault.
    pub fn times(self, times: usize) -> Rule {
        Rule { times, ..self }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        (self.method.is_empty() || self.method == method)
            && wildmatch::WildMatch::new(&self.path).matches(path)
    }
}

/// The fault of a request, and the rules as they are after it.
pub(crate) fn next(rules: &mut Vec<Rule>, method: &str, path: &str) -> Option<Fault> {
    let mut fault = None;
    for rule in rules.iter_mut().filter(|rule| rule.matches(method, path)) {
        if rule.pass > 0 {
            rule.pass -= 1;
        } else if fault.is_none() && rule.times > 0 {
            rule.times -= 1;
            fault = Some(rule.fault.clone());
        }
    }
    rules.retain(|rule| rule.times > 0);
    fault
}
