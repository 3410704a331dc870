//! Fault points: where a test ends this dyno as `kill -9` does, or holds it while the world
//! changes.
//!
//! Each step of a job that has an effect on the world has a point before it and one after it, and
//! [`EFFECTS`] is the list of all. A step may be many writes, as a download is: in the middle of it
//! there is no point. `dyno host tune` has none, but a machine in memory that dies between any two
//! writes. `DYNO_FAULT=kill:publish.runs.before` kills at the first pass of that point,
//! `kill:container.run.after:3` at the third; `stop:…` stops the process (SIGSTOP) until someone
//! sends SIGCONT. `tests/it/faults.rs` goes through the list, so that an effect whose point is
//! never passed, or after which something is left, fails.
//!
//! Points are there in builds with debug assertions only: a release build is without them. The
//! variable is dyno's own; no container gets it, so what is measured cannot set it.
//!
//! The crate `fail` was looked at: it panics, sleeps or returns, which unwinds and cleans up; a
//! kill does not. And its points have no list.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The variable that arms one point.
pub const VARIABLE: &str = "DYNO_FAULT";

/// These steps, in the order of a job: name, and what is done there.
pub const EFFECTS: &[(&str, &str)] = &[
    ("store.probe", "an object is written to the store and removed, to see that it can be"),
    ("sweep.scratch", "work folders of dynos that are gone are removed"),
    ("sweep.cores", "benchmark cores that a dyno which is gone has kept are given back"),
    ("sweep.containers", "containers of dynos that are gone are removed"),
    ("spool.publish", "a record that an earlier dyno could not publish is published"),
    ("spool.set-aside", "a record that nobody could publish is set aside"),
    ("probe.place", "the probe is written to the cache"),
    ("source.init", "a bare repository is made"),
    ("source.fetch", "a commit is fetched"),
    ("release.download", "the archive of a release is downloaded"),
    ("release.commit", "a release is made a commit, and tagged"),
    ("image.download", "packages or layers are downloaded"),
    ("image.unpack", "an image is unpacked and laid out"),
    ("image.discard", "a damaged image leaves its place in the cache"),
    ("image.place", "an image gets its name in the cache"),
    ("image.lock", "image.lock is written"),
    ("image.archive", "an image is written as an archive"),
    ("scratch.make", "a work folder is made"),
    ("artifact.discard", "a damaged artifact leaves its place in the cache"),
    ("source.checkout", "a commit's files are written"),
    ("embedded.bundle", "a container's configuration is written"),
    ("embedded.spawn", "a container's parent is started"),
    ("embedded.make", "a container is made, by its parent"),
    ("embedded.enter", "the probe is started in it, by its parent"),
    ("docker.load", "an image is loaded into the engine"),
    ("docker.create", "a container is created"),
    ("docker.attach", "its streams are attached"),
    ("docker.start", "it is started"),
    ("container.start", "a container is started and looked at from inside"),
    ("artifact.fetch", "the fetch step runs"),
    ("artifact.build", "the build step runs"),
    ("container.run", "one process runs in a container"),
    ("container.freeze", "the container that is not measured is frozen"),
    ("container.thaw", "it is thawed"),
    ("embedded.delete", "a container that has ended is removed, by its parent"),
    ("container.remove", "a container is ended and removed"),
    ("artifact.take", "the outputs are taken"),
    ("artifact.place", "an artifact gets its name in the cache"),
    ("scratch.remove", "a work folder is removed"),
    ("definition.keep", "what the run is built from is kept in the store"),
    ("crates.download", "the archive of a crate is kept in the cache"),
    ("crates.lay-out", "a crate and what it depends on are laid out"),
    ("crates.place", "they get their name in the cache"),
    ("crates.prepare", "a compiler builds what a crate depends on"),
    ("measure.lock", "the machine's measuring lock is taken"),
    ("measure.cores", "the benchmark cores are kept from others"),
    ("measure.keep-to", "dyno moves to the housekeeping cores"),
    ("measure.rounds", "the rounds are measured"),
    ("spool.rounds", "the rounds are kept in the spool, before instructions are counted"),
    ("measure.count", "instructions are counted"),
    ("measure.cores-back", "the benchmark cores are given back"),
    ("spool.write", "the finished record is written to the spool"),
    ("publish.samples", "the samples are written to the store"),
    ("publish.summaries", "the summaries are written to the store"),
    ("publish.units", "the units of builds are written to the store"),
    ("publish.runs", "the run row is written to the store"),
    ("spool.remove", "the published record leaves the spool"),
    ("report.write", "the report is written"),
    ("selfcheck.comparison", "one comparison of a self-check is made"),
];

/// Passes the point before `effect`.
pub fn before(effect: &'static str) {
    pass_point(effect, "before");
}

/// Passes the point after `effect`; also if the effect failed.
pub fn after(effect: &'static str) {
    pass_point(effect, "after");
}

/// Does `work` between its two points.
pub async fn around<T>(effect: &'static str, work: impl Future<Output = T>) -> T {
    before(effect);
    let value = work.await;
    after(effect);
    value
}

/// Does `work`, which does not wait, between its two points.
pub fn at<T>(effect: &'static str, work: impl FnOnce() -> T) -> T {
    before(effect);
    let value = work();
    after(effect);
    value
}

/// Passes the point of a table that is published: for `with_watch` of `dyno_store::Store`.
pub fn publish_point(table: &'static str, is_after: bool) {
    let effect = match table {
        "samples" => "publish.samples",
        "summaries" => "publish.summaries",
        "units" => "publish.units",
        _ => "publish.runs",
    };
    if is_after { after(effect) } else { before(effect) }
}

/// Makes points act on the dyno that started this process from now on: for a container's parent.
pub fn act_on_parent() {
    ON_PARENT.store(true, Ordering::SeqCst);
}

static ON_PARENT: AtomicBool = AtomicBool::new(false);

struct Armed {
    signal: i32,
    point: String,
    /// How many passes are left until it acts.
    passes: AtomicU32,
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    let parse_variable = || {
        let text = std::env::var(VARIABLE).ok()?;
        let mut parts = text.split(':');
        let signal = match parts.next()? {
            "kill" => libc::SIGKILL,
            "stop" => libc::SIGSTOP,
            _ => return None,
        };
        let point = parts.next()?.to_string();
        let passes = parts.next().map_or(Some(1), |n| n.parse().ok())?;
        Some(Armed { signal, point, passes: AtomicU32::new(passes) })
    };
    ARMED.get_or_init(parse_variable).as_ref()
}

fn pass_point(effect: &'static str, moment: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let Some(armed) = armed() else { return };
    // Whoever goes through the list must find every effect in it.
    assert!(EFFECTS.iter().any(|(name, _)| *name == effect), "{effect} is not in the list");
    let point = armed.point.strip_prefix(effect).and_then(|rest| rest.strip_prefix('.'));
    if point == Some(moment) && armed.passes.fetch_sub(1, Ordering::SeqCst) == 1 {
        let on_parent = ON_PARENT.load(Ordering::SeqCst);
        // SAFETY: a signal to this very process, or to the dyno that waits for it.
        unsafe {
            let target = if on_parent { libc::getppid() } else { libc::getpid() };
            libc::kill(target, armed.signal);
        }
        // It may take a moment to arrive.
        if armed.signal == libc::SIGKILL && !on_parent {
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
    }
}
