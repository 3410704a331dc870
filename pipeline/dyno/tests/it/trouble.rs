//! A machine that cannot, an engine that is too old or goes away, a full disk, damaged files:
//! each is told with its name and its way out, and nothing half-done stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dyno_build::definition::list_files;

use crate::skip;
use crate::world::{
    BUILD, RUN, World, answer, check, docker, embedded, in_docker, left_by, names, root,
};

#[test]
fn without_rights_both_ways_out_are_named() {
    let world = World::bare();
    world.commit("v1", "", "");
    world.write("hosts/any.toml", "");
    // Whoever runs this must reach the program and write to store and cache.
    let program = world.path().join("dyno");
    let built = env!("CARGO_BIN_EXE_dyno");
    fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(|_| ())).unwrap();
    for folder in [world.path(), &world.cache(), &world.path().join("store")] {
        fs::create_dir_all(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let run = |host: &str| {
        let like = world.command(&[]);
        let mut dyno = Command::new(&program);
        dyno.args(["run", "made", "v1", "v1", "--host", host])
            .current_dir(world.path())
            .env_clear();
        dyno.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        dyno.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
        if root() {
            dyno.uid(65534).gid(65534);
        }
        world.told(dyno)
    };
    let any = run("any");
    check(&any, 3, &["no way to make containers here", "needs root", "/nowhere/docker.sock"]);
    check(&any, 3, &["hint: run dyno as root, or start Docker or Podman and set DOCKER_HOST"]);
    check(&run("local"), 3, &["needs root", "hint: run dyno as root, or name a host with engine"]);
    check(&run("docker"), 3, &["no container engine answers", "hint: start Docker or Podman"]);
}

/// Answers as an engine does whose newest API is 1.30; returns its socket.
fn old_engine(folder: &Path, refuses: bool) -> PathBuf {
    let socket = folder.join("engine.sock");
    drop(fs::remove_file(&socket));
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, |path| {
                let asked =
                    path.strip_prefix("/v1.").and_then(|rest| rest.split('/').next()?.parse().ok());
                match asked {
                    // A header of its own after the status.
                    _ if path == "/_ping" => ("200 OK\r\napi-version: 1.30", Vec::new()),
                    Some(30..1000) | None if !path.ends_with("/version") => {
                        ("404 Not Found", Vec::new())
                    }
                    Some(minor @ 31..) if refuses => {
                        let text = format!(
                            "client version 1.{minor} is too new. Maximum supported API version is 1.30"
                        );
                        ("400 Bad Request", format!("{{\"message\":\"{text}\"}}").into_bytes())
                    }
                    _ => (
                        "200 OK",
                        br#"{"Version":"17.06.0","ApiVersion":"1.30","MinAPIVersion":"1.12"}"#
                            .to_vec(),
                    ),
                }
            });
        }
    });
    socket
}

#[test]
fn an_engine_that_is_too_old_is_named() {
    let world = World::bare();
    world.commit("v1", "", "");
    let run = |engine: &str| {
        let mut dyno = world.command(&["run", "made", "v1", "v1", "--host", "docker"]);
        dyno.env("DOCKER_HOST", engine);
        world.told(dyno)
    };
    for refuses in [true, false] {
        let socket = old_engine(world.path(), refuses);
        let told = run(&format!("unix://{}", socket.display()));
        check(&told, 3, &["engine.sock: the engine is too old", "1.30", "API 1.41) at least"]);
    }
    check(
        &run("tcp://127.0.0.1:9"),
        3,
        &["only local sockets are supported", "unix:///path/to/socket"],
    );
    world.write("hosts/docker.toml", "engine = \"docker\"\nsocket = \"/nowhere/x.sock\"\n");
    check(&run("unix:///elsewhere"), 3, &["/nowhere/x.sock", "hint: start Docker or Podman"]);
}

#[test]
fn a_build_whose_container_is_killed_from_outside_is_begun_again() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v4", &format!("{BUILD}pause 6000\n"), "print hello\n");
    let words = ["run", "made", "v1", "v4", "--rounds", "2"];
    let dyno = world.until(&words, "build: target v4");
    std::thread::sleep(Duration::from_millis(500));
    let id = dyno.id();
    let states = Path::new("/run/dyno/containers");
    let until = Instant::now() + Duration::from_secs(30);
    let mut killed = 0;
    while killed == 0 {
        assert!(Instant::now() < until, "no container to be killed");
        for name in left_by(id) {
            let state = fs::read_to_string(states.join(&name).join("state.json"));
            let state = serde_json::from_str(&state.unwrap_or_default());
            if let Some(pid) = state.unwrap_or(serde_json::Value::Null)["pid"].as_i64() {
                // SAFETY: the process 1 of a container that this test had made.
                killed += unsafe { i32::from(libc::kill(pid as i32, libc::SIGKILL) == 0) };
            }
        }
    }
    let (code, said) = dyno.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("note: lost the container dyno-{id}-")), "{said}");
    assert!(said.contains("; target v4 is built again"), "{said}");
    assert_eq!((left_by(id), world.scratch()), (Vec::new(), Vec::new()), "{said}");
    assert_eq!(world.runs(), "1");
    check(&world.dyno(&RUN), 0, &[]);
}

#[tokio::test]
async fn docker_that_loses_a_container_or_is_interrupted_keeps_nothing() {
    let Some(docker) = docker().await else { return };
    let world = World::new();
    world.commit("v3", BUILD, "sleep 60\n");
    world.commit("v4", "churn /build\n", "");
    // Begun again, it takes too long.
    world.commit("v5", "churn /build\n\n", "");
    for (tag, moment, signal, code, says) in [
        ("v5", "build: target v5", None, 5, "; target v5 is built again"),
        ("v3", "measure: ", Some(libc::SIGINT), 130, "error: interrupted"),
        ("v4", "build: target v4", Some(libc::SIGTERM), 130, "error: interrupted"),
        ("v3", "measure: ", Some(libc::SIGKILL), 0, ""),
    ] {
        let mut dyno = world.until(&["run", "made", "v1", tag, "--host", "docker"], moment);
        if signal.is_none() {
            dyno.wait_for("build: target v1 in ");
        }
        std::thread::sleep(Duration::from_millis(1000));
        let id = dyno.id();
        match signal {
            Some(signal) => dyno.signal(signal),
            // Docker, which has to load the image first, may not have started one yet.
            None => {
                let until = Instant::now() + Duration::from_secs(30);
                let mut killed = false;
                while !killed {
                    assert!(Instant::now() < until, "no container to be killed");
                    for name in in_docker(&docker, id).await {
                        killed |= docker.kill_container(&name, None).await.is_ok();
                    }
                }
            }
        }
        let (ended, said) = dyno.end();
        assert_eq!(ended.unwrap_or(0), code, "{said}");
        assert!(said.contains(says), "{said}");
        if signal == Some(libc::SIGKILL) {
            // By itself, in seconds: the probe's input has ended.
            tokio::time::sleep(Duration::from_secs(3)).await;
        } else {
            assert_eq!(world.scratch(), Vec::<String>::new(), "{said}");
        }
        assert_eq!(in_docker(&docker, id).await, Vec::<String>::new(), "{said}");
    }
    assert_eq!(world.runs(), "1", "that of the build which was given up");
    check(&world.dyno(&[&RUN[..], &["--host", "docker"]].concat()), 0, &[]);
    world.forget(&docker).await;
}

#[tokio::test]
async fn docker_interrupted_at_the_begin_of_a_container_keeps_nothing() {
    let Some(docker) = docker().await else { return };
    let world = World::new();
    world.commit("v3", "sleep 60\n", "");
    // The image is loaded, so that what follows is the container's own begin.
    check(&world.dyno(&[&RUN[..], &["--host", "docker"]].concat()), 0, &[]);
    let mut ids = Vec::new();
    for delay_ms in [0, 10, 20, 40, 80, 120, 160, 240, 320] {
        let dyno =
            world.until(&["run", "made", "v1", "v3", "--host", "docker"], "build: target v3");
        std::thread::sleep(Duration::from_millis(delay_ms));
        ids.push((delay_ms, dyno.id()));
        dyno.signal(libc::SIGINT);
        let (code, said) = dyno.end();
        assert_eq!(code, Some(130), "{said}");
        assert_eq!(world.scratch(), Vec::<String>::new(), "{said}");
    }
    // What the engine was still making when it was told to remove it would show up by now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (delay_ms, id) in ids {
        assert_eq!(in_docker(&docker, id).await, Vec::<String>::new(), "after {delay_ms} ms");
    }
    world.forget(&docker).await;
}

/// A file system in memory, as large as asked; gone when dropped.
pub struct Disk(PathBuf);

impl Disk {
    pub fn mount(path: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let options = format!("size={size},mode=755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "dyno-test"])
            .arg(&path)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(path)),
            _ => {
                skip("mount", "only root mounts file systems");
                None
            }
        }
    }

    pub fn unmount(&self) {
        assert!(Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }

    fn grow(&self, size: &str) {
        let grown = Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(&self.0)
            .status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// The builds beside each other fill one disk; the one that does so has no file that anybody sees.
#[test]
fn the_build_that_fills_the_disk_is_the_one_that_is_blamed() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let Some(_disk) = Disk::mount(world.cache(), "700m") else { return };
    world.edit("suites/made/suite.toml", "memory = \"256MiB\"", "memory = \"2GiB\"");
    world.commit("slow", &format!("{BUILD}pause 8000\n"), "print hello\n");
    world.commit("hog", &format!("{BUILD}attack unlinked /build 30 60\n"), "print hello\n");
    let told = world.dyno(&["run", "made", "slow", "hog", "--rounds", "1", "--json"]);
    assert_eq!(told.code, Some(5), "{told:?}");
    let view: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    let [failure] = view["failures"].as_array().unwrap().as_slice() else { panic!("{told:?}") };
    assert_eq!((&failure["side"], &failure["step"]), (&"candidate".into(), &"build".into()));
    let reason = failure["reason"].as_str().unwrap();
    assert!(reason.contains("build filled the disk of this machine"), "{reason}");
    assert_eq!(world.scratch(), Vec::<String>::new());
}

const FULL: [&str; 2] = ["error: ", "hint: the disk is full: free some space"];

#[test]
fn a_full_disk_for_the_cache_is_told_and_nothing_half_made_is_used() {
    if !embedded() {
        return;
    }
    let world = World::bare();
    world.commit("v1", BUILD, "print hello\n");
    world.commit("v2", BUILD, "print hello\n");
    world.commit("large", &format!("fill /build/x 60\n{BUILD}"), "print hello\n");
    for size in ["1m", "3m", "4m"] {
        let Some(_disk) = Disk::mount(world.cache(), size) else { return };
        check(&world.dyno(&["image", "lock", "guest"]), 4, &FULL);
        assert!(!world.path().join("images/guest/image.lock").exists());
    }
    let Some(disk) = Disk::mount(world.cache(), "40m") else { return };
    check(&world.dyno(&["image", "lock", "guest"]), 0, &[]);
    check(&world.dyno(&["run", "made", "v1", "large", "--rounds", "1"]), 4, &FULL);
    assert_eq!((world.runs().as_str(), world.scratch()), ("0", Vec::new()));
    let used =
        fs::read_dir(world.cache().join("artifacts/trusted")).into_iter().flatten().flatten();
    assert!(used.into_iter().all(|artifact| artifact.path().join("manifest.json").exists()));
    disk.grow("200m");
    let next = world.dyno(&["run", "made", "v1", "large", "--rounds", "1"]);
    check(&next, 0, &[]);
}

#[test]
fn a_full_disk_for_the_store_is_told_and_the_next_run_goes_on() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let store = world.path().join("store");
    let Some(_disk) = Disk::mount(store.clone(), "1m") else { return };
    // What it is built from is there from another job; the store takes that before measuring.
    check(&world.dyno(&[&RUN[..], &["--budget", "7"]].concat()), 0, &[]);
    let used: u64 = list_files(&store)
        .unwrap()
        .iter()
        .map(|file| fs::metadata(file).unwrap().len().div_ceil(4096) * 4)
        .sum();
    let filler = |kib: usize| fs::write(store.join("_filler"), vec![1; kib << 10]);
    // Not a byte free: found out before anything is built.
    assert!(filler(1100).is_err());
    let told = world.dyno(&RUN);
    check(&told, 4, &FULL);
    assert!(!told.err.contains("build: "), "{told:?}");
    // Enough for some files of a record, but not for its run row.
    for free_kib in [4, 12, 20, 28] {
        filler(1024 - used as usize - free_kib).unwrap();
        let told = world.dyno(&RUN);
        check(&told, 4, &FULL);
        check(&told, 4, &["; what was measured is kept in [world]/cache/spool/"]);
        assert_eq!(world.runs(), "1", "{free_kib} KiB free");
    }
    fs::remove_file(store.join("_filler")).unwrap();
    let told = world.dyno(&RUN);
    check(&told, 0, &["which an earlier dyno measured and could not publish"]);
    check(&told, 0, &["is in the store already"]);
    assert!(!told.err.contains("measure: "), "nothing is measured twice: {told:?}");
    assert_eq!(world.runs(), "2");
    assert_eq!(names(&world.cache().join("spool"), ""), Vec::<String>::new());
}

#[test]
fn damaged_files_in_the_store_are_named_and_the_rest_is_used() {
    if !embedded() {
        return;
    }
    let world = World::new();
    world.commit("v3", BUILD, "print hello\n\n\n\n\n");
    check(&world.dyno(&RUN), 0, &[]);
    check(&world.dyno(&["run", "made", "v1", "v3", "--rounds", "2"]), 0, &[]);
    let query = "SELECT job FROM runs WHERE candidate_asked = 'v3'";
    let job = world.dyno(&["sql", "--output", "csv", query]);
    assert_eq!(job.code, Some(0), "{job:?}");
    let job = job.out.trim().rsplit('\n').next().unwrap().to_string();
    let find = |folder: &str| {
        let mut path = world.path().join("store").join(folder);
        while path.is_dir() {
            let mut entries: Vec<_> =
                fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).collect();
            entries.sort_by_key(|entry| !entry.to_string_lossy().contains(&job));
            path = entries.remove(0);
        }
        path
    };
    for folder in ["runs", "summaries", "samples"] {
        let file = find(folder);
        let name = file.file_name().unwrap().to_str().unwrap().to_string();
        assert!(name.contains(&job), "{name}");
        let good = fs::read(&file).unwrap();
        let mut flipped = good.clone();
        let middle = good.len() / 2;
        flipped[4..middle].fill(0xff);
        for bad in [&b"PAR1"[..], &good[..middle], &flipped, b"not Parquet at all, but a text", b""]
        {
            fs::write(&file, bad).unwrap();
            let told = world.dyno(&["compare", "v1", "v2"]);
            check(&told, 0, &[]);
            if folder == "runs" {
                check(&told, 0, &["note: runs/", &name, "set aside"]);
            }
            let all = world.dyno(&["sql", &format!("SELECT * FROM {folder}")]);
            check(&all, 0, &[&format!("note: {folder}/"), &name, "set aside"]);
        }
        fs::write(&file, good).unwrap();
    }
    check(&world.dyno(&["compare", "v1", "v3"]), 0, &[]);
    // Who may only add files replaces nothing: not by a row of an earlier month.
    let published = find("runs");
    let earlier = published.parent().unwrap().with_file_name("month=2000-01");
    fs::create_dir(&earlier).unwrap();
    fs::copy(&published, earlier.join(published.file_name().unwrap())).unwrap();
    let told = world.dyno(&["compare", "v1", "v3"]);
    check(&told, 0, &["month=2000-01", "its run did not finish in the month that its name says"]);
    assert!(told.out.contains("Note: runs/arch="), "{told:?}");
}

#[test]
fn a_damaged_artifact_in_the_cache_is_built_again() {
    if !embedded() {
        return;
    }
    let world = World::new();
    check(&world.dyno(&RUN), 0, &[]);
    type Damage = fn(&Path) -> std::io::Result<()>;
    let damages: [(&str, Damage); 5] = [
        ("a file is another", |at| fs::write(at.join("files/program"), "print jello\n")),
        ("a file is gone", |at| fs::remove_file(at.join("files/tool"))),
        ("the files are gone", |at| fs::remove_dir_all(at.join("files"))),
        ("the manifest is torn", |at| fs::write(at.join("manifest.json"), "{\"files\":")),
        // What a removal leaves that was killed in the middle.
        ("only the manifest is gone", |at| fs::remove_file(at.join("manifest.json"))),
    ];
    for (what, damage) in damages {
        for artifact in fs::read_dir(world.cache().join("artifacts/trusted")).unwrap().flatten() {
            damage(&artifact.path()).unwrap();
        }
        let told = world.dyno(&[&RUN[..], &["--again"]].concat());
        check(&told, 0, &["is damaged and is built again", "build: target v2 in"]);
        assert_eq!(world.scratch(), Vec::<String>::new(), "{what}");
        let next = world.dyno(&[&RUN[..], &["--again"]].concat());
        check(&next, 0, &["build: target v2 from the cache"]);
    }
}
