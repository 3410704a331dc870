//! GitHub's limits: so many requests an hour, and not too many writes at once.

use std::collections::BTreeMap;

use crate::reply::Reply;

const HOUR: i64 = 3600;

/// The secondary limits of requests that create content, from GitHub's documentation.
const WRITES_A_MINUTE: usize = 80;
const WRITES_AN_HOUR: usize = 500;

/// What one account has left of its hour.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    pub limit: u64,
    pub used: u64,
    pub reset: i64,
}

impl Budget {
    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// The budgets by account, "" being whoever has no token.
#[derive(Default)]
pub(crate) struct Limits {
    limits: BTreeMap<String, u64>,
    budgets: BTreeMap<String, Budget>,
    writes: BTreeMap<String, Vec<i64>>,
}

impl Limits {
    pub fn set(&mut self, account: &str, limit: u64) {
        self.limits.insert(account.to_string(), limit);
        if let Some(budget) = self.budgets.get_mut(account) {
            budget.limit = limit;
        }
    }

    /// What an account has left now; an hour that is over begins anew.
    pub fn budget(&mut self, account: &str, now: i64) -> &mut Budget {
        let default = if account.is_empty() { 60 } else { 5000 };
        let limit = self.limits.get(account).copied().unwrap_or(default);
        let fresh = Budget { limit, used: 0, reset: now + HOUR };
        let budget = self.budgets.entry(account.to_string()).or_insert(fresh);
        if budget.reset <= now {
            *budget = fresh;
        }
        budget
    }

    /// Counts a request, or refuses it.
    pub fn take(&mut self, account: &str, now: i64, is_write: bool) -> Result<(), Reply> {
        let budget = self.budget(account, now);
        if budget.remaining() == 0 {
            return Err(exhausted(403));
        }
        budget.used += 1;
        if is_write {
            let writes = self.writes.entry(account.to_string()).or_default();
            writes.retain(|at| now - at < HOUR);
            let oldest_of = |count: usize| writes.len().checked_sub(count).map(|at| writes[at]);
            let minute = oldest_of(WRITES_A_MINUTE).map(|at| at + 60 - now);
            let hour = oldest_of(WRITES_AN_HOUR).map(|at| at + HOUR - now);
            let wait = minute.max(hour).filter(|seconds| *seconds > 0);
            if let Some(seconds) = wait {
                return Err(secondary(403, Some(seconds as u64)));
            }
            writes.push(now);
        }
        Ok(())
    }

    /// Gives a request back: a 304 costs nothing.
    pub fn give_back(&mut self, account: &str, now: i64) {
        let budget = self.budget(account, now);
        budget.used = budget.used.saturating_sub(1);
    }

    /// Uses up what the account has left.
    pub fn exhaust(&mut self, account: &str, now: i64) {
        let budget = self.budget(account, now);
        budget.used = budget.limit;
    }
}

pub(crate) fn exhausted(status: u16) -> Reply {
    Reply::refusal(status, "API rate limit exceeded")
}

pub(crate) fn secondary(status: u16, retry_after: Option<u64>) -> Reply {
    const MESSAGE: &str =
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
    let reply = Reply::refusal(status, MESSAGE);
    match retry_after {
        Some(seconds) => reply.header("retry-after", seconds),
        None => reply,
    }
}
