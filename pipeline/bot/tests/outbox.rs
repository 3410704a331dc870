//! The outbox through years of bad luck, from one seed: processes that die at any operation, replies
//! that are lost after the write, GitHub away, lists that lag. In the end there is one comment, the
//! right one, and there was never a second.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dyno_bot::configuration::RepositoryName;
use dyno_bot::outbox::{
    Action, Check, CheckState, Delivery, Entry, Hub, HubTrouble, Place, SETTLE_US, Say, Shown,
    ShownCheck, ShownComment, deliver, say,
};
use dyno_queue::{Clock, Object, Objects, Trouble, Version};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

const OWN: u64 = 4242;
const STRANGER: u64 = 666;
const MARKER: &str = "<!-- dyno: wasmi -->";

/// The store and GitHub, and the luck of the one process that uses them.
struct World {
    rng: Pcg64,
    now_us: i64,
    objects: BTreeMap<String, (u64, Vec<u8>)>,
    versions: u64,
    comments: Vec<(i64, ShownComment)>,
    checks: Vec<(i64, ShownCheck)>,
    reactions: Vec<(Option<u64>, String)>,
    labels: BTreeSet<String>,
    /// Comments and checks that were ever created by the bot.
    created: usize,
    ids: u64,
    /// Operations until the process dies; `None` for one that does not.
    fuse: Option<u32>,
    is_dead: bool,
    kills: usize,
    /// The share of operations that fail, before or after they are done.
    trouble: f64,
    /// What GitHub refuses, if it does.
    refuses: Option<&'static str>,
    limited_until_us: i64,
    calls: u32,
}

/// What becomes of an operation.
#[derive(PartialEq)]
enum Luck {
    Done,
    /// It is done, and nobody hears of it.
    Lost,
    /// It is not done.
    Failed,
}

impl World {
    fn new(seed: u64) -> Self {
        let stranger = |id, body: &str| {
            (0, ShownComment { id, author: Some(STRANGER), body: body.to_string() })
        };
        Self {
            rng: Pcg64::seed_from_u64(seed),
            now_us: 1_000_000_000_000,
            objects: BTreeMap::new(),
            versions: 0,
            // A planted marker must neither be taken over nor silence the bot.
            comments: vec![
                stranger(1, &format!("{MARKER}\nplanted")),
                stranger(2, "@dyno run abcdef1"),
            ],
            checks: Vec::new(),
            reactions: vec![(Some(STRANGER), "eyes".into())],
            labels: ["theirs".to_string(), "waiting".to_string()].into(),
            created: 0,
            ids: 10,
            fuse: None,
            is_dead: false,
            kills: 0,
            trouble: 0.0,
            refuses: None,
            limited_until_us: 0,
            calls: 0,
        }
    }

    fn luck(&mut self) -> Luck {
        if self.is_dead {
            return Luck::Failed;
        }
        self.now_us += self.rng.random_range(1_000..300_000);
        let is_lost = self.rng.random_bool(0.5);
        if let Some(left) = &mut self.fuse {
            if *left == 0 {
                self.is_dead = true;
                self.kills += 1;
            } else {
                *left -= 1;
            }
        }
        match self.is_dead || self.rng.random_bool(self.trouble) {
            true if is_lost => Luck::Lost,
            true => Luck::Failed,
            false => Luck::Done,
        }
    }

    /// When something that is created now is first listed.
    fn shown_us(&mut self) -> i64 {
        self.now_us + self.rng.random_range(0..SETTLE_US / 2)
    }
}

/// The world as the bot sees it.
struct Shared(Mutex<World>);

impl Shared {
    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// An operation on the store.
    fn store<T>(&self, operation: impl FnOnce(&mut World) -> T) -> Result<T, Trouble> {
        let mut world = self.world();
        match world.luck() {
            Luck::Failed => Err(Trouble("no answer".into())),
            Luck::Lost => {
                operation(&mut world);
                Err(Trouble("a reply was lost".into()))
            }
            Luck::Done => Ok(operation(&mut world)),
        }
    }

    fn hub<T>(&self, operation: impl FnOnce(&mut World) -> T) -> Result<T, HubTrouble> {
        let mut world = self.world();
        world.calls += 1;
        if world.limited_until_us > world.now_us {
            return Err(HubTrouble::Limited { until_us: world.limited_until_us });
        }
        match world.luck() {
            Luck::Failed => Err(HubTrouble::Away("no answer".into())),
            Luck::Lost => {
                operation(&mut world);
                Err(HubTrouble::Away("a reply was lost".into()))
            }
            Luck::Done => Ok(operation(&mut world)),
        }
    }
}

impl Clock for Shared {
    fn now(&self) -> Duration {
        Duration::from_micros(self.world().now_us as u64)
    }

    fn wall_us(&self) -> i64 {
        self.world().now_us
    }

    async fn sleep(&self, duration: Duration) {
        self.world().now_us += duration.as_micros() as i64;
    }
}

impl Objects for Shared {
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Version)>, Trouble> {
        self.store(|world| {
            let named = world.objects.iter().filter(|(name, _)| name.starts_with(prefix));
            named.map(|(name, (version, _))| (name.clone(), Version(version.to_string()))).collect()
        })
    }

    async fn read(&self, name: &str) -> Result<Option<Object>, Trouble> {
        self.store(|world| {
            let (version, bytes) = world.objects.get(name)?.clone();
            Some(Object { version: Version(version.to_string()), bytes })
        })
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, Trouble> {
        self.store(|world| {
            if world.objects.contains_key(name) {
                return None;
            }
            world.versions += 1;
            world.objects.insert(name.to_string(), (world.versions, bytes.to_vec()));
            Some(Version(world.versions.to_string()))
        })
    }

    async fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        old: &Version,
    ) -> Result<Option<Version>, Trouble> {
        self.store(|world| {
            let (version, found) = world.objects.get_mut(name)?;
            if version.to_string() != old.0 {
                return None;
            }
            world.versions += 1;
            (*version, *found) = (world.versions, bytes.to_vec());
            Some(Version(world.versions.to_string()))
        })
    }

    async fn remove(&self, name: &str) -> Result<(), Trouble> {
        self.store(|world| drop(world.objects.remove(name)))
    }
}

impl Hub for Shared {
    async fn look(&self, _: &Place, what: &Say) -> Result<Shown, HubTrouble> {
        self.hub(|world| {
            let now_us = world.now_us;
            match what {
                Say::Comment { .. } => {
                    let shown = world.comments.iter().filter(|(since_us, _)| *since_us <= now_us);
                    Shown::Comments(shown.map(|(_, comment)| comment.clone()).collect())
                }
                Say::Reaction { .. } => Shown::Reactions(world.reactions.clone()),
                Say::Check(_) => {
                    let shown = world.checks.iter().filter(|(since_us, _)| *since_us <= now_us);
                    Shown::Checks(shown.map(|(_, check)| check.clone()).collect())
                }
                Say::Labels { .. } => Shown::Labels(world.labels.clone()),
            }
        })
    }

    async fn act(&self, _: &Place, action: &Action) -> Result<(), HubTrouble> {
        if let Some(why) = self.world().refuses {
            return Err(HubTrouble::Refused(why.into()));
        }
        self.hub(|world| act(world, action))
    }
}

fn act(world: &mut World, action: &Action) {
    let since_us = world.shown_us();
    world.ids += 1;
    let shown_check = |id, check: &Check| ShownCheck {
        id,
        name: check.name.clone(),
        request: check.request.clone(),
        state: check.state,
        title: check.title.clone(),
        summary: check.summary.clone(),
    };
    match action.clone() {
        Action::CreateComment { body } => {
            world.created += 1;
            let body = body.replace('\n', "\r\n");
            world
                .comments
                .push((since_us, ShownComment { id: world.ids, author: Some(OWN), body }));
        }
        Action::UpdateComment { id, body } => {
            let found = world.comments.iter_mut().find(|(_, comment)| comment.id == id);
            found.expect("what is updated is there").1.body = body;
        }
        Action::RemoveComment { id } => world.comments.retain(|(_, comment)| comment.id != id),
        Action::CreateReaction { content, .. } => {
            let ours = (Some(OWN), content);
            if !world.reactions.contains(&ours) {
                world.reactions.push(ours);
            }
        }
        Action::CreateCheck(check) => {
            world.created += 1;
            let shown = shown_check(world.ids, &check);
            world.checks.push((since_us, shown));
        }
        Action::UpdateCheck { id, check } => {
            let found = world.checks.iter_mut().find(|(_, shown)| shown.id == id);
            found.expect("what is updated is there").1 = shown_check(id, &check);
        }
        Action::AddLabels(labels) => world.labels.extend(labels),
        Action::RemoveLabel(label) => drop(world.labels.remove(&label)),
    }
}

/// Nothing here waits for anything outside.
fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("everything answers at once"),
    }
}

/// What is to be said when the request has come to its `stage`.
fn due(stage: u32) -> Vec<Entry> {
    let place = || Place { repository: RepositoryName::new("acme/widget").unwrap(), number: 7 };
    let body = format!("{MARKER}\nstage {stage}\n");
    let state = match stage {
        0 => CheckState::Queued,
        1..4 => CheckState::InProgress,
        _ => CheckState::Neutral,
    };
    let set = |labels: &[&str]| labels.iter().map(|label| label.to_string()).collect();
    let check = Check {
        name: "dyno: wasmi".into(),
        head: "a".repeat(40).parse().unwrap(),
        request: "1".into(),
        state,
        title: format!("stage {stage}"),
        summary: String::new(),
    };
    [
        Say::Reaction { comment: 2, content: "eyes".into() },
        Say::Comment { marker: MARKER.into(), body, is_update: false },
        Say::Check(check),
        Say::Labels {
            on: set(if stage < 4 { &["waiting"] } else { &["slow", "triage"] }),
            managed: set(&["waiting", "slow", "fast", "triage"]),
        },
    ]
    .map(|what| Entry::new(place(), what))
    .into()
}

/// One life of the bot: it says how things are, and delivers.
fn live(shared: &Shared, stage: u32) -> Result<Delivery, Trouble> {
    for entry in due(stage) {
        run(say(shared, shared, &entry))?;
    }
    run(deliver(shared, shared, shared, OWN))
}

/// Lets it live on undisturbed until nothing is due.
fn settle(shared: &Shared, stage: u32) {
    {
        let mut world = shared.world();
        (world.fuse, world.is_dead, world.trouble) = (None, false, 0.0);
    }
    for _ in 0..4 {
        let delivery = live(shared, stage).unwrap();
        assert_eq!(delivery.unsaid, [], "nothing is in the way any more");
        match delivery.again_us {
            None => return,
            Some(again_us) => shared.world().now_us = again_us,
        }
    }
    panic!("it does not come to rest");
}

/// GitHub shows what belongs to `stage`, once, and the others' is as it was.
fn check(shared: &Shared, stage: u32, seed: u64) {
    let mut world = shared.world();
    let ours: Vec<&ShownComment> =
        world.comments.iter().map(|(_, c)| c).filter(|c| c.author == Some(OWN)).collect();
    let [comment] = ours.as_slice() else { panic!("seed {seed}: {ours:?}") };
    let body = comment.body.replace("\r\n", "\n");
    assert_eq!(body, format!("{MARKER}\nstage {stage}\n"), "seed {seed}");
    assert_eq!(world.comments.len(), 3, "seed {seed}");
    assert_eq!(world.comments[0].1.body, format!("{MARKER}\nplanted"));
    let [(_, check)] = world.checks.as_slice() else { panic!("seed {seed}: {:?}", world.checks) };
    assert_eq!(check.title, format!("stage {stage}"), "seed {seed}");
    assert_eq!(world.created, 2, "seed {seed}: never a second, not even for a moment");
    assert_eq!(world.reactions.len(), 2, "seed {seed}");
    let labels: Vec<&str> = world.labels.iter().map(String::as_str).collect();
    let expected =
        if stage < 4 { vec!["theirs", "waiting"] } else { vec!["slow", "theirs", "triage"] };
    assert_eq!(labels, expected, "seed {seed}");
    assert!(!world.objects.keys().any(|name| name.starts_with("bot/due/")), "seed {seed}");
    // Saying it once more says nothing.
    world.calls = 0;
    drop(world);
    live(shared, stage).unwrap();
    assert_eq!(shared.world().calls, 0, "seed {seed}");
}

#[test]
fn one_comment_whatever_dies() {
    for seed in 0..60 {
        let shared = Shared(Mutex::new(World::new(seed)));
        let mut stage = 0;
        while shared.world().kills < 120 {
            {
                let mut world = shared.world();
                world.is_dead = false;
                world.fuse = Some(world.rng.random_range(0..40));
                world.trouble = if world.rng.random_bool(0.3) { 0.2 } else { 0.0 };
                // Timers are late, and a machine can be off for a day.
                world.now_us += world.rng.random_range(0..90_000_000);
                if world.rng.random_bool(0.1) {
                    world.limited_until_us = world.now_us + 600_000_000;
                }
                if world.rng.random_bool(0.3) {
                    stage = (stage + 1).min(9);
                }
            }
            let _ = live(&shared, stage);
        }
        shared.world().limited_until_us = 0;
        settle(&shared, stage);
        check(&shared, stage, seed);
    }
}

/// Each operation of a whole conversation is the last one of a process, before and after it is done.
#[test]
fn dead_at_each_operation() {
    for before in [None, Some(0)] {
        for seed in 0..4 {
            for fuse in 0.. {
                let shared = Shared(Mutex::new(World::new(seed)));
                if let Some(stage) = before {
                    settle(&shared, stage);
                    // Until then nothing that was created lags.
                    shared.world().now_us += SETTLE_US;
                }
                shared.world().fuse = Some(fuse);
                let _ = live(&shared, 4);
                let was_killed = shared.world().kills == 1;
                settle(&shared, 4);
                check(&shared, 4, seed);
                if !was_killed {
                    assert!(fuse > 20, "it took {fuse} operations");
                    break;
                }
            }
        }
    }
}

#[test]
fn a_conversation_takes_few_calls() {
    let shared = Shared(Mutex::new(World::new(1)));
    for stage in 0..5 {
        settle(&shared, stage);
    }
    // The reaction, five comments and five checks take a look and a write each; labels take more.
    assert!(shared.world().calls <= 30, "{}", shared.world().calls);
}

#[test]
fn what_is_refused_is_named_given_up_and_stops_nothing_else() {
    let shared = Shared(Mutex::new(World::new(2)));
    let name = "bot/due/damaged.json".to_string();
    shared.world().objects.insert(name, (1_000, b"{".to_vec()));
    for entry in due(0) {
        run(say(&shared, &shared, &entry)).unwrap();
    }
    // What one entry says under the name of another one is nobody's.
    let other = shared
        .world()
        .objects
        .iter()
        .find(|(name, _)| !name.contains("damaged"))
        .unwrap()
        .1
        .1
        .clone();
    shared.world().objects.insert("bot/due/other.json".into(), (1_001, other));
    shared.world().refuses = Some("locked");
    let mut whys = Vec::new();
    for _ in 0..6 {
        let delivery = run(deliver(&shared, &shared, &shared, OWN)).unwrap();
        let mut why: Vec<String> = delivery.unsaid.into_iter().map(|(_, why)| why).collect();
        why.sort();
        why.dedup();
        whys.push(why);
    }
    let damaged = "it is damaged: EOF while parsing an object at line 1 column 1";
    let foreign = "it is not the entry that its name says";
    assert_eq!(whys[0], [damaged, foreign, "locked"]);
    assert_eq!(whys[5], ["given up: locked", damaged, foreign]);
    // A newer text is asked for again; the others are not.
    shared.world().refuses = None;
    for entry in due(5) {
        run(say(&shared, &shared, &entry)).unwrap();
    }
    let delivery = run(deliver(&shared, &shared, &shared, OWN)).unwrap();
    assert_eq!(delivery.said, 3, "comment, check and labels: the reaction has no newer text");
    assert_eq!(shared.world().comments.len(), 3);
}

#[test]
fn a_limit_ends_the_pass_and_says_when_to_come_again() {
    let shared = Shared(Mutex::new(World::new(3)));
    for entry in due(0) {
        run(say(&shared, &shared, &entry)).unwrap();
    }
    let until_us = shared.world().now_us + 3_600_000_000;
    shared.world().limited_until_us = until_us;
    let delivery = run(deliver(&shared, &shared, &shared, OWN)).unwrap();
    assert_eq!(delivery, Delivery { again_us: Some(until_us), ..Delivery::default() });
    assert_eq!(shared.world().calls, 1, "who is told to wait asks no more");
    shared.world().now_us = until_us;
    settle(&shared, 0);
    check(&shared, 0, 3);
}
