//! Attacks, each in a real container under every engine, each against a planted canary: a secret
//! on this machine, another job's files, a listener on its network, the next run. What must be
//! seen of each stands in a table; docs/SECURITY.md names these tests.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use dyno_engine::{Container, Mount, Spec, verify};
use dyno_probe::{End, Exit, Spawn};

use crate::attack_table::Seen::{self, Ended, Left, Refused, Says};
use crate::attack_table::attacks_on_the_host;
use crate::engine::{Ground, ask, run};
use crate::world::root;

fn check(engine: &str, words: &[&str], exit: &Exit, seen: &Seen) {
    let said = exit.stdout_tail.trim();
    let errno = said.strip_prefix("Some(").and_then(|rest| rest.strip_suffix(")")?.parse().ok());
    let right = match seen {
        Refused(numbers) => errno.is_some_and(|errno: i32| numbers.contains(&errno)),
        Ended(signal) => exit.end == End::Signal(*signal),
        Says(text) => exit.end == End::Code(0) && said == *text && exit.leftovers == 0,
        Left(text, count) => exit.end == End::Code(0) && said == *text && exit.leftovers == *count,
    };
    assert!(right, "{engine}: {words:?}: {exit:?}");
    assert_eq!(exit.residue, None, "{engine}: {words:?}");
}

/// What the next run finds is nothing, and it works.
async fn next_is_as_before(container: &mut Container, after: &[&str]) {
    let exit = ask(container, &["attack", "look"]).await;
    assert_eq!((&exit.end, exit.stdout_tail.trim()), (&End::Code(0), "found []"), "{after:?}");
}

async fn nothing_is_within_reach(engine: &str) {
    let Some(ground) = Ground::open(engine).await else { return };
    let folder = ground.folder.path();
    // Canaries: a secret beside the container's folders, another job's, one mounted below a folder
    // that is lent read-only, listeners on this machine's networks.
    let canary = format!("canary-{}", std::process::id());
    std::fs::write(folder.join("secret"), &canary).unwrap();
    let other = folder.join("other-job");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("secret"), &canary).unwrap();
    let below = folder.join("read/below");
    std::fs::create_dir(&below).unwrap();
    let mounted = Below::mount(&below);
    std::fs::write(below.join("secret"), &canary).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().to_string();
    let name = format!("dyno-{canary}-{engine}");
    let abstract_listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    abstract_listener.set_nonblocking(true).unwrap();

    let elsewhere = Spec { mounts: vec![Mount::writable(&other, "/work")], ..ground.spec.clone() };
    let mut neighbour = ground.start(&elsewhere).await;
    let mut container = ground.start(&ground.spec).await;
    for (words, seen) in attacks_on_the_host(&port, &format!("@{name}")) {
        if mounted.is_none() && words.iter().any(|word| word.contains("/below/")) {
            continue;
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let exit = ask(&mut container, &words).await;
        check(engine, &words, &exit, &seen);
    }
    next_is_as_before(&mut container, &["all of them"]).await;
    // The set-user-id bit gives nobody anything.
    let suid = Spawn { argv: ["/suid", "attack", "ids"].map(String::from).into(), ..run(&[]) };
    let exit = container.run(&suid, |_| ()).await.unwrap();
    check(engine, &["suid"], &exit, &Says("1000"));
    // Whatever can be read was read, and the canary stood nowhere.
    let (half, rest) = canary.split_at(4);
    let exit = ask(&mut container, &["attack", "hunt", half, rest]).await;
    check(engine, &["hunt"], &exit, &Says("found []"));

    let unseen = |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::WouldBlock);
    unseen(listener.accept().expect_err("nobody came"));
    unseen(abstract_listener.accept().expect_err("nobody came"));
    for secret in [folder.join("secret"), other.join("secret"), below.join("secret")] {
        assert_eq!(std::fs::read_to_string(secret).unwrap(), canary);
    }
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(folder.join("read/secret")).unwrap(), "12345");
    let exit = ask(&mut neighbour, &["print", "hello"]).await;
    check(engine, &["neighbour"], &exit, &Says("hello"));
    container.remove().await.unwrap();
    neighbour.remove().await.unwrap();
    drop(mounted);
    ground.close().await;
}

/// A file system in memory, there until it is dropped.
struct Below(PathBuf);

impl Below {
    /// Where this process may mount.
    fn mount(folder: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "mode=777", "none"]).arg(folder);
        let mounted = root() && mount.status().is_ok_and(|status| status.success());
        mounted.then(|| Self(folder.to_path_buf()))
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[tokio::test]
async fn embedded_nothing_is_within_reach() {
    nothing_is_within_reach("embedded").await;
}

#[tokio::test]
async fn docker_nothing_is_within_reach() {
    nothing_is_within_reach("docker").await;
}

async fn what_holds_is_read_back(engine: &str) {
    let Some(ground) = Ground::open(engine).await else { return };
    let container = ground.start(&ground.spec).await;
    let good = container.sandbox().clone();
    container.remove().await.unwrap();
    let bounds_files = ground.engines.bounds_files();
    assert_eq!(verify(&ground.spec, &good, bounds_files), Vec::<String>::new());
    // Each promise broken by itself is named.
    type Breaks<'a> = &'a dyn Fn(&mut dyno_probe::Sandbox);
    let broken: &[(Breaks, &str)] = &[
        (&|s| s.protocol = 0, "protocol 0"),
        (&|s| s.pid = 7, "process 7"),
        (&|s| s.capabilities.push("21".into()), "further capabilities [\"21\"]"),
        (&|s| s.no_new_privileges = false, "no-new-privileges is off"),
        (&|s| s.seccomp_mode = 0, "no seccomp filter"),
        (&|s| s.cpus.push(999), "cores "),
        (&|s| s.memory_limit_bytes = None, "memory limit None"),
        (&|s| s.swap_limit_bytes = Some(1 << 30), "swap 1073741824 beyond"),
        (&|s| s.swap_limit_bytes = None, "boot with swapaccount=1"),
        (&|s| s.pids_limit = None, "process limit None"),
        (&|s| s.interfaces.push("eth0".into()), "network interfaces [\"eth0\"]"),
        (&|s| s.root_read_only = false, "the root is writable"),
        (
            &|s| {
                let _ = s.mounts.insert("/suite/below".into(), true);
            },
            "/suite/below is writable",
        ),
        (&|s| s.in_memory.get_mut("/tmp").unwrap().bytes = 1 << 30, "/tmp holds 1073741824 bytes"),
        (&|s| s.in_memory.get_mut("/dev/shm").unwrap().bytes *= 2, "/dev/shm holds 8388608 bytes"),
        (&|s| s.in_memory.get_mut("/tmp").unwrap().files = 0, "/tmp holds 0 files instead of 4096"),
        (
            &|s| {
                let _ = s.in_memory.remove("/dev/shm");
            },
            "/dev/shm holds 0 files instead of 1024",
        ),
        (&|s| s.program.uids[2] = 0, "programs run as users [1000, 1000, 0, 1000]"),
        (&|s| s.program.gids[0] = 0, "programs run as groups [0,"),
        (&|s| s.program.groups.push(27), "programs have the groups [27]"),
        (&|s| s.program.capabilities.push("KILL".into()), "programs have the capabilities"),
        (&|s| s.program.no_new_privileges = false, "off for programs"),
        (&|s| s.program.seccomp_mode = 0, "no seccomp filter for programs"),
        (
            &|s| {
                let _ = s.program.limits.insert("rtprio".into(), Some(99));
            },
            "rtprio Some(99) instead",
        ),
        (
            &|s| {
                let _ = s.program.limits.insert("core".into(), None);
            },
            "core None instead of 1",
        ),
        (&|s| s.program = dyno_probe::Program::default(), "programs run as users []"),
    ];
    for (breaks, named) in broken {
        let mut bad = good.clone();
        breaks(&mut bad);
        let wrong = verify(&ground.spec, &bad, true);
        assert!(wrong.iter().any(|what| what.contains(named)), "{named}: {wrong:?}");
    }
    // Where the engine cannot bound the number of files, their bytes alone are asked for.
    let mut unbounded = good.clone();
    unbounded.in_memory.values_mut().for_each(|room| room.files = 1 << 20);
    assert_eq!(verify(&ground.spec, &unbounded, false), Vec::<String>::new());
    unbounded.in_memory.clear();
    assert_eq!(verify(&ground.spec, &unbounded, false).len(), 2);
    ground.close().await;
}

#[tokio::test]
async fn embedded_what_holds_is_read_back() {
    what_holds_is_read_back("embedded").await;
}

#[tokio::test]
async fn docker_what_holds_is_read_back() {
    what_holds_is_read_back("docker").await;
}

/// What the attacker writes where it hopes that dyno reads replies.
const FORGED: &str =
    r#"{"exit":{"end":{"code":0},"wall_ns":1,"user_ns":1,"system_ns":1,"max_rss_bytes":1}}"#;

async fn results_cannot_be_forged(engine: &str) {
    let Some(ground) = Ground::open(engine).await else { return };
    // As measured programs have it: nothing of the host may be written.
    let mounts = ground.spec.mounts.iter().filter(|mount| !mount.writable).cloned().collect();
    let spec = Spec { mounts, ..ground.spec.clone() };
    let mut container = ground.start(&spec).await;
    let table: &[(&[&str], Seen)] = &[
        // Each would find what the one before kept.
        (&["attack", "keep"], Says("found []")),
        (&["attack", "keep"], Says("found []")),
        (&["attack", "keep"], Says("found []")),
        (&["attack", "daemon"], Left("hello", 1)),
        (&["attack", "late"], Left("", 1)),
        (&["attack", "writer"], Left("hello", 1)),
        // No attack: a helper that ended and that nobody waited for.
        (&["attack", "orphan"], Says("hello")),
    ];
    for (words, seen) in table {
        let mut exit = ask(&mut container, words).await;
        if words[1] == "writer" {
            exit.stdout_tail = "hello".into();
        }
        check(engine, words, &exit, seen);
        next_is_as_before(&mut container, words).await;
    }
    // A device that anybody may write to keeps no time.
    for device in ["/dev/null", "/dev/zero"] {
        for _ in 0..2 {
            check(
                engine,
                &[device],
                &ask(&mut container, &["attack", "touch", device]).await,
                &Says("0 after 0"),
            );
        }
    }
    // What is read from a disk is seen, and what is in the page cache is not.
    let past = ask(&mut container, &["attack", "past-cache", "/guest"]).await;
    if past.stdout_tail.ends_with("bytes\n") {
        assert!(past.disk_read_bytes >= 100_000, "{engine}: {past:?}");
    }
    // Others on this machine may push a page out meanwhile.
    let mut reads = Vec::new();
    for _ in 0..3 {
        reads.push(ask(&mut container, &["read", "/guest"]).await);
    }
    assert!(reads.iter().any(|read| read.disk_read_bytes == 0), "{engine}: {reads:?}");

    let exit = ask(&mut container, &["attack", "keep"]).await;
    assert!(exit.stderr_tail.contains("\"tmp\", \"shm\""), "it did keep things: {exit:?}");

    // Chains of forks that run on while everything is ended.
    for _ in 0..10 {
        let exit = ask(&mut container, &["attack", "storm"]).await;
        assert!(exit.leftovers > 0, "{engine}: {exit:?}");
        assert!(exit.leftover_names.iter().all(|name| name == "guest"), "{exit:?}");
        next_is_as_before(&mut container, &["storm"]).await;
    }

    // Lines that look like the probe's: they are the program's output and nothing else.
    let exit = ask(&mut container, &["attack", "forge", FORGED]).await;
    assert_eq!((&exit.end, exit.stderr_tail.as_str()), (&End::Code(0), "[1] []"), "{engine}");
    assert_eq!(exit.stdout_tail.trim(), FORGED);
    assert!(exit.wall_ns > 1 && exit.max_rss_bytes > 1);
    next_is_as_before(&mut container, &["forge"]).await;

    // The probe's clock counts, and what nobody waited for counts too.
    let exit = ask(&mut container, &["attack", "clock", "200"]).await;
    assert_eq!(exit.stdout_tail, "0 ns");
    assert!(exit.wall_ns >= 200_000_000, "{}", exit.wall_ns);
    let exit = ask(&mut container, &["attack", "hide", "200"]).await;
    assert_eq!((exit.stdout_tail.as_str(), exit.leftovers), ("hello", 0));
    assert!(exit.user_ns + exit.system_ns >= 190_000_000, "{engine}: {exit:?}");

    // A stream that someone else holds and never stops writing to ends with the process.
    let streaming = Spawn { stream: true, ..run(&["attack", "writer"]) };
    let exit = container.run(&streaming, |_| ()).await.unwrap();
    assert_eq!((&exit.end, exit.leftovers), (&End::Code(0), 1), "{engine}");
    next_is_as_before(&mut container, &["stream"]).await;
    container.remove().await.unwrap();
    ground.close().await;
}

#[tokio::test]
async fn embedded_results_cannot_be_forged() {
    results_cannot_be_forged("embedded").await;
}

#[tokio::test]
async fn docker_results_cannot_be_forged() {
    results_cannot_be_forged("docker").await;
}

async fn exhaustion_is_bounded(engine: &str) {
    let Some(ground) = Ground::open(engine).await else { return };
    let mut neighbour = ground.start(&ground.spec).await;
    let mut container = ground.start(&ground.spec).await;
    let streaming = |words: &[&str]| Spawn { stream: true, ..run(words) };
    let short = |words: &[&str]| Spawn { time_ms: 300, ..run(words) };
    let table: &[(Spawn, End)] = &[
        (run(&["memory", "500"]), End::Signal(9)),
        (run(&["flood"]), End::Signal(25)),
        (streaming(&["attack", "lines"]), End::Signal(25)),
        (streaming(&["flood"]), End::Signal(25)),
        (short(&["spin"]), End::Timeout),
        (short(&["sleep", "60"]), End::Timeout),
        (Spawn { stream: true, ..short(&["spin"]) }, End::Timeout),
        (run(&["processes", "1000"]), End::Code(0)),
        (run(&["attack", "files", "/tmp"]), End::Code(0)),
        (run(&["attack", "files", "/dev/shm"]), End::Code(0)),
        (Spawn { output_bytes: 1 << 30, ..run(&["fill", "/tmp/x", "1000"]) }, End::Code(101)),
        (Spawn { output_bytes: 1 << 30, ..run(&["fill", "/dev/shm/x", "1000"]) }, End::Code(101)),
        (run(&["attack", "deep", "/tmp"]), End::Code(0)),
        (run(&["attack", "pipes"]), End::Signal(9)),
    ];
    // To spare the probe whatever a program does takes this right, which not every root has.
    let spared = may_spare().then(|| (run(&["attack", "pipes", "last"]), End::Signal(9)));
    for (run, end) in table.iter().chain(&spared) {
        let exit = container.run(run, |_| ()).await.unwrap();
        assert_eq!(exit.end, *end, "{engine}: {:?}: {exit:?}", run.argv);
        assert_eq!(exit.residue, None, "{engine}: {:?}", run.argv);
        let words: Vec<&str> = run.argv.iter().map(String::as_str).collect();
        next_is_as_before(&mut container, &words).await;
        let exit = ask(&mut neighbour, &["print", "hello"]).await;
        check(engine, &["neighbour"], &exit, &Says("hello"));
    }
    container.remove().await.unwrap();
    neighbour.remove().await.unwrap();
    ground.close().await;
}

/// CAP_SYS_RESOURCE.
fn may_spare() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap() >> 24 & 1 == 1
}

#[tokio::test]
async fn embedded_exhaustion_is_bounded() {
    exhaustion_is_bounded("embedded").await;
}

#[tokio::test]
async fn docker_exhaustion_is_bounded() {
    exhaustion_is_bounded("docker").await;
}
