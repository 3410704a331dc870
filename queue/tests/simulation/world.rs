//! The world: the true time, what is to happen, and the objects.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use crate::checks::Ledger;

pub const SECOND: u64 = 1_000_000;
pub const MINUTE: u64 = 60 * SECOND;

/// A write, which the network may bring twice.
#[derive(Debug, Clone)]
pub enum Write {
    Create { name: String, bytes: Vec<u8> },
    Replace { name: String, bytes: Vec<u8>, version: u64 },
    Remove { name: String },
}

impl Write {
    pub fn name(&self) -> &str {
        match self {
            Self::Create { name, .. } | Self::Replace { name, .. } | Self::Remove { name } => name,
        }
    }
}

/// What is to happen at some time.
pub enum Event {
    Wake(Waker),
    /// A write that was done already comes again.
    Duplicate(Write),
    Crash(usize),
    Start(usize),
    Jump {
        host: usize,
        by_us: i64,
    },
}

/// A host, as the world sees it.
#[derive(Debug, Clone)]
pub struct HostState {
    pub is_up: bool,
    /// It does nothing until then.
    pub paused_until: u64,
    /// How much faster its clock runs.
    pub rate: f64,
    /// How wrong its time of day is.
    pub wall_offset_us: i64,
    /// When it was started last.
    pub started: u64,
    pub starts: u32,
    /// Its way to the store is cut until then.
    pub cut_until: u64,
}

/// One content of an object, or that it was gone, since a time.
#[derive(Debug, Clone)]
pub struct Content {
    pub since: u64,
    /// (Version, bytes); `None` while it is gone.
    pub object: Option<(u64, Vec<u8>)>,
}

pub struct World {
    pub now: u64,
    pub random: Pcg64,
    sequence: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    pending: BTreeMap<u64, Event>,
    pub hosts: Vec<HostState>,
    /// Each object's contents, oldest first.
    pub objects: BTreeMap<String, Vec<Content>>,
    versions: u64,
    /// After this nothing goes wrong any more.
    pub calm_from: u64,
    pub ledger: Ledger,
    pub has_fencing: bool,
    pub trace: bool,
}

pub type Shared = Arc<Mutex<World>>;

pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().expect("one thread")
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            now: 0,
            random: Pcg64::seed_from_u64(seed),
            sequence: 0,
            events: BinaryHeap::new(),
            pending: BTreeMap::new(),
            hosts: Vec::new(),
            objects: BTreeMap::new(),
            versions: 0,
            calm_from: 0,
            ledger: Ledger::default(),
            has_fencing: true,
            trace: std::env::var_os("QUEUE_TRACE").is_some(),
        }
    }

    pub fn is_calm(&self) -> bool {
        self.now >= self.calm_from
    }

    pub fn chance(&mut self, share: f64) -> bool {
        !self.is_calm() && self.random.random_bool(share)
    }

    /// A number of µs below `most`, small ones more often.
    pub fn delay(&mut self, most: u64) -> u64 {
        let uniform: f64 = self.random.random();
        (uniform.powi(4) * most as f64) as u64
    }

    pub fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((time.max(self.now), self.sequence)));
        self.pending.insert(self.sequence, event);
    }

    /// The next event, at whose time it now is; `None` where nothing is to happen.
    pub fn next_event(&mut self) -> Option<Event> {
        let Reverse((time, sequence)) = self.events.pop()?;
        self.now = time;
        self.pending.remove(&sequence)
    }

    pub fn log(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>12.3} {}", self.now as f64 / 1e6, text());
        }
    }

    fn current(&self, name: &str) -> Option<&(u64, Vec<u8>)> {
        self.objects.get(name)?.last()?.object.as_ref()
    }

    pub fn read(&self, name: &str) -> Option<(u64, Vec<u8>)> {
        self.current(name).cloned()
    }

    /// The names below `prefix` with their versions, as they were `lag` ago.
    pub fn list(&self, prefix: &str, lag: u64) -> Vec<(String, u64)> {
        let seen = self.now.saturating_sub(lag);
        let below = self.objects.range(prefix.to_string()..);
        below
            .take_while(|(name, _)| name.starts_with(prefix))
            .filter_map(|(name, contents)| {
                let content = contents.iter().rev().find(|content| content.since <= seen)?;
                Some((name.clone(), content.object.as_ref()?.0))
            })
            .collect()
    }

    /// Does a write; the new version, or `None` where its condition does not hold.
    pub fn write(&mut self, write: &Write, by: &str) -> Option<u64> {
        let (now, found) = (self.now, self.read(write.name()));
        let is_fenced = self.has_fencing || !write.name().starts_with("queue/results/");
        let object = match write {
            Write::Create { .. } if found.is_some() && is_fenced => return None,
            Write::Replace { version, .. } if found.as_ref().map(|f| f.0) != Some(*version) => {
                return None;
            }
            Write::Remove { .. } => None,
            Write::Create { bytes, .. } | Write::Replace { bytes, .. } => {
                self.versions += 1;
                Some((self.versions, bytes.clone()))
            }
        };
        self.log(|| format!("{by} {}", describe(write)));
        let before = found.map(|(_, bytes)| bytes);
        let after = object.as_ref().map(|(_, bytes)| bytes.as_slice());
        self.ledger.note_write(now, by, write.name(), before.as_deref(), after);
        let contents = self.objects.entry(write.name().to_string()).or_default();
        contents.push(Content { since: now, object });
        // Lists lag by seconds: older contents are never asked for.
        let old = contents.len().saturating_sub(20);
        contents.drain(..old);
        Some(self.versions)
    }
}

fn describe(write: &Write) -> String {
    match write {
        Write::Create { name, bytes } => {
            format!("creates {name} {}", String::from_utf8_lossy(bytes).trim())
        }
        Write::Replace { name, bytes, .. } => {
            format!("replaces {name} {}", String::from_utf8_lossy(bytes).trim())
        }
        Write::Remove { name } => format!("removes {name}"),
    }
}
