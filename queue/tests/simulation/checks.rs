//! What must hold, kept book of by what reaches the store and not by what the hosts believe.

use std::collections::BTreeMap;

use dyno_model::id::QueueJobId;
use dyno_model::queue::{Claim, Ending, JobResult, path};

use crate::world::{SECOND, World};

/// The lease of the simulated hosts, in µs.
pub const LEASE: u64 = 60 * SECOND;

/// How much of the lease must have passed before another may take a claim: clocks differ by 2 %.
const LEASE_LEAST: u64 = LEASE / 10 * 9;

/// How long what has ended may go on: until the holder looks (four renewals) or its lease runs out,
/// and one more round of tries each.
const SILENT_AFTER: u64 = 2 * LEASE + 120 * SECOND;

#[derive(Debug, Clone, Copy)]
struct Work {
    host: usize,
    since: u64,
}

/// Book of what happened.
#[derive(Debug, Default)]
pub struct Ledger {
    /// When each claim was last written.
    renewed: BTreeMap<String, u64>,
    /// Attempts that began to measure, by claim.
    attempts: BTreeMap<String, u32>,
    working: BTreeMap<(usize, String), Work>,
    /// Works that ended: claim, host, from, to.
    worked: Vec<(String, usize, u64, u64)>,
    /// When a job got its result.
    ended: BTreeMap<String, u64>,
    pub violations: Vec<String>,
    pub takeovers: u64,
    pub crashes: u64,
    pub rows_by_others: u64,
}

fn claim_of(bytes: Option<&[u8]>) -> Option<Claim> {
    serde_json::from_slice(bytes?).ok()
}

impl Ledger {
    /// A write that was done: what was there, and what is.
    pub fn note_write(
        &mut self,
        now: u64,
        by: &str,
        name: &str,
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) {
        if let Some((_, attempt)) = name.strip_prefix("runs/").and_then(|n| n.split_once('/')) {
            let host = attempt.split('.').next();
            self.rows_by_others += u64::from(host != by.strip_prefix("host "));
        }
        if let Some(id) = path::id::<QueueJobId>(name, "queue/results/") {
            self.ended.entry(path::claim(&id)).or_insert(now);
        }
        if !name.starts_with(path::CLAIMS) {
            return;
        }
        let (former, claim) = (claim_of(before), claim_of(after));
        let holder = |claim: &Option<Claim>| {
            claim.as_ref().and_then(|c| c.holder.as_ref()).map(|h| h.incarnation.clone())
        };
        let changed = holder(&former).is_some() && holder(&former) != holder(&claim);
        if changed && holder(&claim).is_some() {
            self.takeovers += 1;
            let age = now - self.renewed.get(name).copied().unwrap_or(0);
            if age < LEASE_LEAST {
                let (by, from) = (holder(&claim), holder(&former));
                self.violations.push(format!(
                    "{name} was taken from {from:?} by {by:?} {} s after its renewal",
                    age / SECOND
                ));
            }
        }
        let measures = |claim: &Option<Claim>| {
            claim.as_ref().and_then(|c| c.holder.as_ref()).is_some_and(|h| h.is_measuring)
        };
        if measures(&claim) && (!measures(&former) || changed) {
            *self.attempts.entry(name.to_string()).or_default() += 1;
        }
        self.renewed.insert(name.to_string(), now);
    }

    pub fn begin_work(&mut self, now: u64, host: usize, job: &QueueJobId) {
        self.working.insert((host, path::claim(job)), Work { host, since: now });
    }

    pub fn end_work(&mut self, now: u64, host: usize, claim: &str) {
        if let Some(work) = self.working.remove(&(host, claim.to_string())) {
            self.worked.push((claim.to_string(), work.host, work.since, now));
        }
    }
}

/// What a simulation came to.
#[derive(Debug, Default, Clone)]
pub struct Found {
    pub jobs: u64,
    pub done: u64,
    pub failed: u64,
    pub given_up: u64,
    pub cancelled: u64,
    pub superseded: u64,
    pub takeovers: u64,
    pub crashes: u64,
    /// Run rows that another host put in their place.
    pub rows_by_others: u64,
    pub seconds: u64,
}

/// Holds the end of a simulation against what must be: `asked` are the jobs of all requests that
/// reached the store.
pub fn check(
    world: &World,
    asked: &[QueueJobId],
    pauses: &BTreeMap<usize, Vec<(u64, u64)>>,
) -> Result<Found, String> {
    let ledger = &world.ledger;
    if let Some(violation) = ledger.violations.first() {
        return Err(violation.clone());
    }
    let mut found = Found {
        jobs: asked.len() as u64,
        takeovers: ledger.takeovers,
        crashes: ledger.crashes,
        rows_by_others: ledger.rows_by_others,
        seconds: world.now / SECOND,
        ..Found::default()
    };
    for job in asked {
        let Some((_, bytes)) = world.read(&path::result(job)) else {
            return Err(format!("job {job} has no result at the end: it was lost, or starved"));
        };
        let result: JobResult =
            serde_json::from_slice(&bytes).map_err(|error| format!("job {job}: {error}"))?;
        let rows = world.list(&format!("runs/{job}/"), 0);
        let attempts = ledger.attempts.get(&path::claim(job)).copied().unwrap_or(0);
        match &result.ending {
            Ending::Done { path, .. } => {
                found.done += 1;
                let [(row, _)] = &rows[..] else {
                    return Err(format!("job {job} counts {} times", rows.len()));
                };
                if row != path {
                    return Err(format!("job {job}: {row} counts, and its result is {path}"));
                }
            }
            _ if !rows.is_empty() => {
                return Err(format!("job {job} is {}, and counts", result.ending.name()));
            }
            Ending::Failed { why } if why.starts_with("it was tried") => {
                found.given_up += 1;
                if attempts < 3 {
                    return Err(format!("job {job} was given up after {attempts} attempts: {why}"));
                }
            }
            Ending::Failed { .. } => found.failed += 1,
            Ending::Cancelled => found.cancelled += 1,
            Ending::Held { .. } => {}
        }
        if attempts > 1 && matches!(result.ending, Ending::Done { .. }) {
            found.superseded += u64::from(attempts - 1);
        }
    }
    for prefix in [path::JOBS, path::CLAIMS, path::OPEN] {
        if let Some((name, _)) = world.list(prefix, 0).first() {
            return Err(format!("{name} is left over"));
        }
    }
    check_silence(ledger, pauses)?;
    Ok(found)
}

/// Whoever works on what has ended stops soon, but for the time in which it was paused.
fn check_silence(ledger: &Ledger, pauses: &BTreeMap<usize, Vec<(u64, u64)>>) -> Result<(), String> {
    for (claim, host, from, to) in &ledger.worked {
        let Some(ended) = ledger.ended.get(claim) else { continue };
        let since = (*ended).max(*from);
        let paused: u64 = pauses
            .get(host)
            .into_iter()
            .flatten()
            .map(|(begin, end)| end.min(to).saturating_sub((*begin).max(since)))
            .sum();
        let went_on = to.saturating_sub(since).saturating_sub(paused);
        if went_on > SILENT_AFTER {
            return Err(format!(
                "host {host} worked on {claim} for {} s after it had ended",
                went_on / SECOND
            ));
        }
    }
    Ok(())
}
