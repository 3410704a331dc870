//! `kill -9` of dyno before and after every effect: what runs ends by itself, nothing half-done is
//! published, no lock stays; the next dyno cleans up, goes on and comes to the same, once.
//!
//! The list of effects is `fault::EFFECTS`; one that is never reached fails here.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dyno_base::fault::{EFFECTS, VARIABLE};
use serde_json::Value;

use crate::sample::sample;
use crate::skip;
use crate::source::with_releases;
use crate::world::{BUILD, Told, World, alive, docker, embedded, in_docker, left_by, names};

/// What stands before a kill, and so which words are killed and then said again.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scene {
    /// All is cached; only measuring and what follows is left.
    Measure,
    /// The candidate is to be built.
    Build,
    /// The repository of the target is not here yet.
    Source,
    /// The image is not here yet.
    Image,
    /// The image in the cache is damaged.
    DamagedImage,
    /// The artifacts in the cache are damaged.
    DamagedArtifact,
    /// The image is to be pinned anew.
    Pin,
    /// The probe is not in the cache.
    Probe,
    /// An earlier record was measured and not published.
    Spool,
    /// The record in the spool is damaged.
    DamagedRecord,
    Selfcheck,
    /// The target is a crate, of which nothing is here yet.
    Crate,
    /// As `Build`, by Docker, which does not have the image.
    Docker,
}

fn scene(effect: &str) -> Scene {
    match effect {
        "source.init" | "source.fetch" => Scene::Source,
        "image.download" | "image.unpack" | "image.place" => Scene::Image,
        "image.discard" => Scene::DamagedImage,
        "artifact.discard" => Scene::DamagedArtifact,
        "image.lock" => Scene::Pin,
        "probe.place" => Scene::Probe,
        "spool.publish" => Scene::Spool,
        "spool.set-aside" => Scene::DamagedRecord,
        "selfcheck.comparison" => Scene::Selfcheck,
        "image.archive" => Scene::Docker,
        _ if effect.starts_with("docker.") => Scene::Docker,
        _ if effect.starts_with("release.") => Scene::Crate,
        _ if ["artifact.", "scratch.", "source."].iter().any(|p| effect.starts_with(p)) => {
            Scene::Build
        }
        _ => Scene::Measure,
    }
}

/// One kill: the effect, `before` or `after`, at which pass of it, in which scene.
type Kill = (&'static str, &'static str, u32, Scene);

/// Every effect once before and once after; those that come several times in a job, more often.
fn kills() -> Vec<Kill> {
    let both = |effect: &'static str, pass, scene| {
        ["before", "after"].map(|moment| (effect, moment, pass, scene))
    };
    let mut kills: Vec<Kill> =
        // Those of crates need compilers: `crates::killed_at_every_effect_of_crates`.
        EFFECTS
            .iter()
            .filter(|(effect, _)| !crate::crates::OF_CRATES.contains(effect))
            .flat_map(|(effect, _)| both(effect, 1, scene(effect)))
            .collect();
    // The processes of a job: fetch, build, two to warm up, two rounds of two, two counted.
    for pass in [1, 2, 5, 8] {
        kills.extend(both("container.run", pass, Scene::Build));
    }
    for effect in ["container.start", "container.remove"] {
        kills.extend(both(effect, 2, Scene::Build));
    }
    // Of two that are discarded.
    kills.extend(both("scratch.remove", 2, Scene::DamagedArtifact));
    // The second file of a report.
    kills.extend(both("report.write", 2, Scene::Measure));
    for effect in ["container.start", "container.run", "container.remove"] {
        kills.extend(both(effect, 3, Scene::Docker));
    }
    kills
}

/// A world in which every job has the same samples and the same conclusion.
struct Stage {
    world: World,
    /// How many jobs were asked for so far; each has a budget of its own, hence its own id.
    asked: u32,
    /// What the store has.
    held: Held,
    docker: Option<bollard::Docker>,
}

/// What the store shows, and what lies in it.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Held {
    runs: u64,
    samples: u64,
    files: u64,
}

/// The larger program of the candidates: a difference without noise.
fn program() -> String {
    format!("print hello\n{}", "\n".repeat(5000))
}

impl Stage {
    fn new(docker: Option<bollard::Docker>) -> Self {
        let world = World::counting();
        let suite = "suites/made/suite.toml";
        world.edit(suite, "-size\"]", "-size\", \"instructions:cachegrind\"]");
        world.edit(suite, "[build]\n", "[build]\nfetch = [\"/guest\", \"print\", \"fetched\"]\n");
        world.commit("v3", BUILD, &program());
        world.write(
            "policies/default.toml",
            "[metric.artifact-size]\nsmallest_effect = 0.01\ndecides = true\n",
        );
        let held = Held { runs: 0, samples: 0, files: 0 };
        let mut stage = Self { world, asked: 0, held, docker };
        let first = stage.told(&stage.run("v1", "v3", "local"), None);
        assert_eq!(first.code, Some(0), "{first:?}");
        stage.held = stage.ask();
        stage
    }

    /// The words of a job that the store does not hold.
    fn run(&self, baseline: &str, candidate: &str, host: &str) -> Vec<String> {
        let budget = (100 + self.asked).to_string();
        let words = ["run", "made", baseline, candidate, "--rounds", "2", "--json", "--host", host];
        [&words[..], &["--budget", &budget]].concat().iter().map(ToString::to_string).collect()
    }

    fn told(&self, words: &[String], fault: Option<&str>) -> Told {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.world.command(&words);
        command.env("CARGO_HOME", self.world.path().join(".cargo"));
        if let Some(fault) = fault {
            command.env(VARIABLE, fault);
        }
        self.world.told(command)
    }

    /// Sets `scene` and gives the words that are to be killed in it.
    fn set(&mut self, scene: Scene) -> Vec<String> {
        self.asked += 1;
        let forget = |folder: &str| drop(fs::remove_dir_all(self.world.cache().join(folder)));
        let each = |folder: &str, damage: &dyn Fn(&Path)| {
            let found = fs::read_dir(self.world.cache().join(folder)).unwrap().flatten();
            found.for_each(|entry| damage(&entry.path()));
        };
        let mut candidate = "v3".to_string();
        match scene {
            Scene::Measure => {}
            Scene::Build | Scene::Docker => {
                candidate = format!("new{}", self.asked);
                let build = format!("{BUILD}{}", "\n".repeat(self.asked as usize));
                self.world.commit(&candidate, &build, &program());
            }
            Scene::Source => forget("sources"),
            Scene::Probe => forget("probe"),
            Scene::Image | Scene::Pin => ["images", "blobs"].map(forget).iter().for_each(drop),
            Scene::Crate => forget("sources"),
            Scene::DamagedImage => each("images", &|image| {
                drop(fs::remove_file(image.join("image.json")));
            }),
            Scene::DamagedArtifact => each("artifacts/trusted", &|artifact| {
                fs::write(artifact.join("files/program"), "torn").unwrap();
            }),
            Scene::Spool => {
                let words = self.run("v1", "v3", "local");
                let told = self.told(&words, Some("kill:publish.summaries.before"));
                assert_eq!(told.code, None, "{told:?}");
                return words;
            }
            Scene::DamagedRecord => {
                let words = self.run("v1", "v3", "local");
                let told = self.told(&words, Some("kill:publish.samples.before"));
                assert_eq!(told.code, None, "{told:?}");
                let spool = self.world.cache().join("spool");
                let kept = names(&spool, "").into_iter().find(|name| name.ends_with(".json"));
                fs::write(spool.join(kept.unwrap()), "torn").unwrap();
                return words;
            }
            Scene::Selfcheck => {
                let words = "selfcheck made v1 --comparisons 1 --rounds 2";
                return words.split(' ').map(String::from).collect();
            }
        }
        match scene {
            Scene::Pin => ["image", "lock", "guest"].map(String::from).into(),
            Scene::Crate => self.run("0.1.0", "0.2.0", "local"),
            Scene::Docker => {
                let images = fs::read_dir(self.world.cache().join("images")).unwrap().flatten();
                images.for_each(|image| drop(fs::remove_file(image.path().join("image.tar"))));
                if let Some(docker) = &self.docker {
                    let none = None::<bollard::query_parameters::RemoveImageOptions>;
                    drop(block_on(docker.remove_image(&self.world.image(), none, None)));
                }
                self.run("v1", &candidate, "docker")
            }
            _ => self.run("v1", &candidate, "local"),
        }
    }

    fn ask(&self) -> Held {
        let query = "SELECT (SELECT count(*) FROM runs) AS r, (SELECT count(*) FROM samples) AS s";
        let told = self.world.dyno(&["sql", "--output", "csv", query]);
        assert!(told.code == Some(0) && !told.err.contains("set aside"), "{told:?}");
        let mut numbers = told.out.lines().nth(1).unwrap().split(',').map(|n| n.parse().unwrap());
        let of_record = |file: &String| !file.starts_with("definitions/");
        let files = files_below(&self.world.path().join("store"));
        let files = files.into_iter().filter(of_record).count() as u64;
        Held { runs: numbers.next().unwrap(), samples: numbers.next().unwrap(), files }
    }

    /// One kill and what follows. `of_one` is what one job brings.
    fn check(&mut self, (effect, moment, pass, scene): Kill, of_one: Held) {
        let words = self.set(scene);
        let before = self.held;
        let case = format!("{effect}.{moment}:{pass}");
        let mut command = self.world.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("CARGO_HOME", self.world.path().join(".cargo"));
        command.env(VARIABLE, format!("kill:{case}"));
        let (id, killed) = self.world.told_with_id(command);
        assert_eq!(killed.code, None, "{case} was never reached: {killed:?}");

        // By itself: processes end, cgroups go, the lock is free.
        let until = Instant::now() + Duration::from_secs(15);
        let left =
            || [running(self.world.path()), alive(id), locks(self.world.scope.lock(), id)].concat();
        while !left().is_empty() {
            assert!(Instant::now() < until, "{case}: {:?} goes on", left());
            std::thread::sleep(Duration::from_millis(20));
        }
        // All of a record is seen, or nothing.
        let after = self.ask();
        let whole = [0, 1].map(|n| (before.runs + n, before.samples + n * of_one.samples));
        let count = |held: Held| (held.runs, held.samples);
        // A self-check counts nothing, so it has other samples.
        let seen_whole = whole.contains(&count(after)) || scene == Scene::Selfcheck;
        assert!(seen_whole, "{case}: {before:?} became {after:?}");

        let next = self.told(&words, None);
        assert_eq!(next.code, Some(0), "{case}: {next:?}");
        let end = self.ask();
        self.held = end;
        match scene {
            Scene::Pin => assert_eq!(end, before, "{case}"),
            // Each call is a comparison of its own.
            Scene::Selfcheck => assert_eq!(end.runs, after.runs + 1, "{case}"),
            _ => {
                let (runs, samples) = (before.runs + 1, before.samples + of_one.samples);
                assert_eq!(count(end), (runs, samples), "{case}: {next:?}");
                let view: Value = serde_json::from_str(&next.out).unwrap();
                assert_eq!(view["conclusion"], "Regressed", "{case}: {next:?}");
            }
        }
        assert_eq!(end.files, 3 * end.runs, "{case}: nothing but whole records is in the store");
        assert_eq!(left_by(id), Vec::<String>::new(), "{case}: {next:?}");
        if let (Scene::Docker, Some(docker)) = (scene, &self.docker) {
            let left = block_on(in_docker(docker, id));
            assert_eq!(left, Vec::<String>::new(), "{case}: {next:?}");
        }
        assert_eq!(litter(&self.world), Vec::<String>::new(), "{case}: {next:?}");
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Processes whose environment names `world`: dyno and whatever it started on the host.
fn running(world: &Path) -> Vec<String> {
    let world = world.to_str().unwrap().as_bytes();
    let ours = |id: &u32| {
        fs::read(format!("/proc/{id}/environ"))
            .is_ok_and(|found| found.windows(world.len()).any(|part| part == world))
    };
    let name = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(name);
    all.filter(ours).map(|id| format!("process {id}")).collect()
}

/// The lock of a scope, if process `id` took it.
fn locks(lock: &Path, id: u32) -> Vec<String> {
    let Ok(file) = fs::metadata(lock) else { return Vec::new() };
    let inode = format!(":{}", file.ino());
    let all = fs::read_to_string("/proc/locks").unwrap();
    let held = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(4) == Some(&id.to_string().as_str())
            && words.get(5).is_some_and(|place| place.ends_with(&inode))
    };
    all.lines().filter(held).map(|line| format!("lock {line}")).collect()
}

/// Every file below `folder`, relative to it, without looking into images.
fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type().unwrap().is_dir() {
                true if entry.file_name() == "rootfs" => {}
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().display().to_string()),
            }
        }
    }
    found
}

/// Work in progress and other people's names, in cache, reports and catalog.
fn litter(world: &World) -> Vec<String> {
    let mut litter = Vec::new();
    for file in files_below(&world.cache()) {
        let parts: Vec<&str> = file.split('/').collect();
        let hex = |part: &str| part.len() >= 12 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let known = match parts.as_slice() {
            ["artifacts", .., id, "manifest.json"] => hex(id),
            ["artifacts", .., id, "files", _] => hex(id),
            ["blobs" | "probe", id] => hex(id),
            ["images", ".lock"] | ["cache.lock"] => true,
            // Those of `DamagedRecord`, which stay for people to look at.
            ["spool", name] => name.ends_with(".json.bad"),
            ["images", id, "image.json" | "tree.json" | "image.tar"] => hex(id),
            ["sources", "git" | "crate", repository, ..] => repository.ends_with(".git"),
            _ => false,
        };
        if !known {
            litter.push(file);
        }
    }
    litter.extend(world.scratch());
    let reports = files_below(&world.path().join("data/dyno/reports"));
    let page = |file: &str| {
        ["report.html", "comment.md", "report.json"].contains(&file.rsplit('/').next().unwrap())
    };
    litter.extend(reports.into_iter().filter(|file| !page(file)));
    let image = files_below(&world.path().join("images/guest"));
    litter.extend(image.into_iter().filter(|f| !["image.toml", "image.lock"].contains(&&**f)));
    litter
}

/// Goes through `kills` in all `stages` at once; what fails is told when all are through.
fn all(stages: Vec<Stage>, kills: Vec<Kill>) {
    let queue = Mutex::new(VecDeque::from(kills));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for mut stage in stages {
            let (queue, failed) = (&queue, &failed);
            scope.spawn(move || {
                let of_one = stage.held;
                assert_eq!((of_one.runs, of_one.files), (1, 3), "the first job of this world");
                loop {
                    let next = queue.lock().unwrap().pop_front();
                    let Some(kill) = next else { return };
                    let started = Instant::now();
                    let check = AssertUnwindSafe(|| stage.check(kill, of_one));
                    let went = catch_unwind(check).is_ok();
                    let (effect, moment, pass, scene) = kill;
                    eprintln!(
                        "{effect}.{moment}:{pass} ({scene:?}) {} in {:.1} s",
                        if went { "clean" } else { "FAILED" },
                        started.elapsed().as_secs_f64()
                    );
                    if !went {
                        failed.lock().unwrap().push(kill);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} kills were not borne: {failed:?}", failed.len());
}

/// How many of the kills are tried where not all are: the list is long, and four dynos follow each.
const SAMPLE: usize = 16;

fn unreachable_points() -> bool {
    if !cfg!(debug_assertions) {
        skip("faults", "a release build has no fault points");
    }
    !cfg!(debug_assertions)
}

#[test]
fn killed_at_every_effect() {
    if unreachable_points() || !embedded() {
        return;
    }
    let mut kills = kills();
    kills.retain(|(.., scene)| ![Scene::Docker, Scene::Crate].contains(scene));
    let kills = sample("kills", kills, SAMPLE);
    all(vec![Stage::new(None), Stage::new(None)], kills);
}

#[test]
fn killed_at_every_effect_of_a_crate() {
    if unreachable_points() || !embedded() {
        return;
    }
    let mut kills = kills();
    kills.retain(|(.., scene)| *scene == Scene::Crate);
    let kills = sample("kills of a crate", kills, SAMPLE / 4);
    let stage = Stage::new(None);
    with_releases(&stage.world, &program());
    all(vec![stage], kills);
}

#[test]
fn killed_at_every_effect_of_docker() {
    if unreachable_points() || !embedded() {
        return;
    }
    let Some(docker) = block_on(docker()) else { return };
    let mut kills = kills();
    kills.retain(|(.., scene)| *scene == Scene::Docker);
    let kills = sample("kills with docker", kills, SAMPLE / 4);
    let stage = Stage::new(Some(docker));
    all(vec![stage], kills);
}
