//! Attacks, each in a real container under every engine, each against a planted canary: a secret
//! on this machine, another job's files, a listener on its network, the next run. What must be
//! seen of each stands in a table; docs/SECURITY.md names these tests.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;

use dyno_pipeline::engine::{Container, Mount, Spec, verify};
use dyno_probe::{End, Exit, Run};

use crate::engine::{Ground, ask, run};
use crate::world::root;

/// What must be seen of an attack.
enum Seen<'a> {
    /// It says that it was refused, with one of these error numbers.
    Refused(&'a [i32]),
    /// It was ended by this signal.
    Ended(i32),
    /// It says this, and ends well.
    Says(&'a str),
    /// It says this and ends well, and this many processes ran on.
    Left(&'a str, u32),
}
use Seen::{Ended, Left, Refused, Says};

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

/// Attacks on the machine: what is out of reach says so.
fn attacks_on_the_host(host_port: &str, abstract_name: &str) -> Vec<(Vec<String>, Seen<'static>)> {
    const NO: Seen = Refused(&[libc::EPERM]);
    let calls: &[(i64, &[&str])] = &[
        // Another view of the file system.
        (libc::SYS_mount, &["none", "/tmp", "tmpfs", "0", "0"]),
        (libc::SYS_umount2, &["/proc", "2"]),
        (libc::SYS_pivot_root, &["/tmp", "/tmp"]),
        (libc::SYS_chroot, &["/tmp"]),
        (libc::SYS_open_tree, &["-100", "/", "1"]),
        (libc::SYS_move_mount, &["-100", "/tmp", "-100", "/work", "0"]),
        (libc::SYS_fsopen, &["tmpfs", "0"]),
        (libc::SYS_mount_setattr, &["-100", "/", "0", "0", "0"]),
        (libc::SYS_open_by_handle_at, &["-100", "0", "0"]),
        (libc::SYS_name_to_handle_at, &["-100", "/guest", "0", "0", "0"]),
        (libc::SYS_fanotify_init, &["0", "0"]),
        // Namespaces.
        (libc::SYS_unshare, &["268435456"]),
        (libc::SYS_unshare, &["128"]),
        (libc::SYS_setns, &["0", "0"]),
        (libc::SYS_clone, &["268435473", "0", "0", "0", "0"]),
        // The kernel.
        (libc::SYS_bpf, &["0", "0", "0"]),
        (libc::SYS_perf_event_open, &["0", "0", "-1", "-1", "0"]),
        (libc::SYS_userfaultfd, &["0"]),
        (libc::SYS_io_uring_setup, &["8", "0"]),
        (libc::SYS_init_module, &["0", "0", "0"]),
        (libc::SYS_finit_module, &["0", "0", "0"]),
        (libc::SYS_delete_module, &["x", "0"]),
        (libc::SYS_kexec_load, &["0", "0", "0", "0"]),
        (libc::SYS_reboot, &["0", "0", "0", "0"]),
        (libc::SYS_syslog, &["10", "0", "0"]),
        (libc::SYS_swapon, &["/tmp/x", "0"]),
        (libc::SYS_acct, &["/tmp/x"]),
        (libc::SYS_quotactl, &["0", "0", "0", "0"]),
        (libc::SYS_sethostname, &["x", "1"]),
        (libc::SYS_settimeofday, &["0", "0"]),
        (libc::SYS_clock_settime, &["0", "0"]),
        (libc::SYS_clock_adjtime, &["0", "0"]),
        (libc::SYS_adjtimex, &["0"]),
        (libc::SYS_personality, &["262144"]),
        (libc::SYS_move_pages, &["1", "0", "0", "0", "0", "0"]),
        (libc::SYS_process_madvise, &["0", "0", "0", "0", "0"]),
        // Keyrings, which outlive processes.
        (libc::SYS_keyctl, &["0", "-3", "0"]),
        (libc::SYS_add_key, &["user", "x", "x", "1", "-4"]),
        (libc::SYS_request_key, &["user", "x", "0", "0"]),
        // Memory and messages between processes, which do so too.
        (libc::SYS_shmget, &["77", "4096", "950"]),
        (libc::SYS_msgget, &["77", "950"]),
        (libc::SYS_semget, &["77", "1", "950"]),
        (libc::SYS_mq_open, &["x", "66", "438", "0"]),
        // Other processes.
        (libc::SYS_process_vm_readv, &["1", "0", "0", "0", "0", "0"]),
        (libc::SYS_pidfd_getfd, &["0", "0", "0"]),
        (libc::SYS_kcmp, &["1", "1", "0", "0", "0"]),
        // Another user, and capabilities.
        (libc::SYS_setuid, &["0"]),
        (libc::SYS_setgid, &["0"]),
        (libc::SYS_setgid, &["1002"]),
        (libc::SYS_setgroups, &["0", "0"]),
        // Networks: raw, virtual machines' (vsock), the kernel's crypto.
        (libc::SYS_socket, &["2", "3", "1"]),
        (libc::SYS_socket, &["10", "3", "58"]),
        (libc::SYS_socket, &["17", "3", "768"]),
        (libc::SYS_socket, &["40", "1", "0"]),
        (libc::SYS_socket, &["38", "5", "0"]),
        // Devices.
        (libc::SYS_mknodat, &["-100", "/tmp/disk", "24960", "65024"]),
        (libc::SYS_mknodat, &["-100", "/tmp/memory", "8576", "257"]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_iopl, &["3"]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_ioperm, &["0", "1", "1"]),
        // The same calls by the numbers of the x32 ABI.
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mount | 0x4000_0000, &["none", "/tmp", "tmpfs", "0", "0"]),
    ];
    let own = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut table: Vec<(Vec<String>, Seen)> = calls
        .iter()
        .map(|(number, arguments)| {
            let number = number.to_string();
            ([&own(&["attack", "call", &number])[..], &own(arguments)].concat(), NO)
        })
        .collect();
    let call = |number: i64, arguments: &[&str]| {
        [&own(&["attack", "call", &number.to_string()])[..], &own(arguments)].concat()
    };
    table.push((call(libc::SYS_clone3, &["0", "0"]), Refused(&[libc::ENOSYS])));
    // What is aimed at the probe ends whoever does it.
    for (number, arguments) in [
        (libc::SYS_kill, &["1", "9"][..]),
        (libc::SYS_kill, &["1", "15"]),
        (libc::SYS_tkill, &["1", "9"]),
        (libc::SYS_tgkill, &["1", "1", "9"]),
        (libc::SYS_rt_sigqueueinfo, &["1", "9", "0"]),
        (libc::SYS_rt_tgsigqueueinfo, &["1", "1", "9", "0"]),
        (libc::SYS_ptrace, &["16", "1", "0", "0"]),
        (libc::SYS_ptrace, &["0", "0", "0", "0"]),
        (libc::SYS_process_vm_writev, &["1", "0", "0", "0", "0", "0"]),
    ] {
        table.push((call(number, arguments), Ended(libc::SIGSYS)));
    }
    table.push((call(libc::SYS_setpriority, &["0", "0", "-5"]), Refused(&[libc::EACCES])));
    // To ask whether one's parent is there is no attack.
    table.push((call(libc::SYS_kill, &["1", "0"]), NO));
    let pidfd = Refused(&[libc::EBADF, libc::EPERM, libc::EINVAL]);
    table.push((call(libc::SYS_pidfd_send_signal, &["0", "9", "0", "0"]), pidfd));
    const CLOSED: Seen = Refused(&[libc::EACCES, libc::EROFS, libc::EPERM, libc::ENOENT]);
    for file in [
        "environ",
        "mem",
        "maps",
        "syscall",
        "stack",
        "auxv",
        "fd/0",
        "fd/1",
        "root/etc",
        "cwd/guest",
    ] {
        table.push((own(&["read", &format!("/proc/1/{file}")]), CLOSED));
    }
    for file in [
        "/proc/1/fd/0",
        "/proc/1/fd/1",
        "/proc/1/mem",
        "/proc/1/oom_score_adj",
        "/proc/1/comm",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/fs/mqueue/queues_max",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/devices/release_agent",
        "/sys/fs/cgroup/devices/devices.allow",
        "/sys/fs/cgroup/cpuset/cpuset.cpus",
        "/etc/passwd",
        "/guest",
        "/dyno/probe",
        "/suid",
        "/etc/ssl/certs/secret",
        "/etc/ssl/certs/new",
        "/etc/ssl/certs/below/new",
        "/x",
        "/dev/x",
        "/proc/x",
        "/sys/x",
        "/dev/mqueue/x",
        "/var/run/docker.sock",
    ] {
        let closed = Refused(&[
            libc::EACCES,
            libc::EROFS,
            libc::EPERM,
            libc::ENOENT,
            libc::EMFILE,
            libc::EISDIR,
        ]);
        table.push((own(&["write", file]), closed));
    }
    for file in [
        "/proc/kcore",
        "/proc/kmsg",
        "/dev/kmsg",
        "/dev/mem",
        "/dev/kvm",
        "/dev/fuse",
        "/etc/shadow",
        "/etc/ssl/certs/below/secret",
    ] {
        let closed = Refused(&[libc::EACCES, libc::EPERM, libc::ENOENT]);
        table.push((own(&["read", file]), closed));
    }
    // To be the last to end when memory runs out.
    table.push((
        own(&["attack", "put", "/proc/self/oom_score_adj", "-1"]),
        Refused(&[libc::EACCES]),
    ));
    if root() {
        table.push((own(&["read", "/disk"]), Refused(&[libc::EPERM, libc::EACCES])));
        table.push((own(&["write", "/disk"]), Refused(&[libc::EPERM, libc::EACCES])));
    }
    for socket in [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/containerd/containerd.sock",
    ] {
        table.push((own(&["attack", "unix", socket]), Refused(&[libc::ENOENT])));
    }
    table.push((own(&["attack", "unix", abstract_name]), Refused(&[libc::ECONNREFUSED])));
    // Addresses of clouds' metadata, of this machine, of any other.
    for address in [
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "192.0.2.1:80",
        "172.17.0.1:80",
        "[2001:db8::1]:80",
    ] {
        let away = Refused(&[libc::ENETUNREACH, libc::EADDRNOTAVAIL]);
        table.push((own(&["connect", address]), away));
    }
    table.push((own(&["connect", host_port]), Refused(&[libc::ECONNREFUSED])));
    table
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
    let mounted = root() && mount_below(&below);
    std::fs::write(below.join("secret"), &canary).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().to_string();
    let name = format!("dyno-{canary}-{engine}");
    let abstract_listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    abstract_listener.set_nonblocking(true).unwrap();

    let elsewhere = Spec { mounts: vec![Mount::writable(&other, "/work")], ..ground.spec.clone() };
    let mut neighbour = ground.engines.start(&elsewhere).await.unwrap();
    let mut container = ground.engines.start(&ground.spec).await.unwrap();
    for (words, seen) in attacks_on_the_host(&port, &format!("@{name}")) {
        if !mounted && words.iter().any(|word| word.contains("/below/")) {
            continue;
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let exit = ask(&mut container, &words).await;
        check(engine, &words, &exit, &seen);
    }
    next_is_as_before(&mut container, &["all of them"]).await;
    // The set-user-id bit gives nobody anything.
    let suid = Run { argv: ["/suid", "attack", "ids"].map(String::from).into(), ..run(&[]) };
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
    if mounted {
        assert!(Command::new("umount").arg(&below).status().unwrap().success());
    }
    ground.close().await;
}

fn mount_below(folder: &Path) -> bool {
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "mode=777", "none"]).arg(folder).status();
    mount.is_ok_and(|status| status.success())
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
    let container = ground.engines.start(&ground.spec).await.unwrap();
    let good = container.sandbox().clone();
    container.remove().await.unwrap();
    assert_eq!(verify(&ground.spec, &good), Vec::<String>::new());
    // Each promise broken by itself is named.
    let broken: &[(&dyn Fn(&mut dyno_probe::Sandbox), &str)] = &[
        (&|s| s.protocol = 0, "protocol 0"),
        (&|s| s.pid = 7, "process 7"),
        (&|s| s.capabilities.push("21".into()), "further capabilities [\"21\"]"),
        (&|s| s.no_new_privileges = false, "no-new-privileges is off"),
        (&|s| s.seccomp_mode = 0, "no seccomp filter"),
        (&|s| s.cpus.push(999), "cores "),
        (&|s| s.memory_limit_bytes = None, "memory limit None"),
        (&|s| s.swap_limit_bytes = Some(1 << 30), "swap Some(1073741824) beyond"),
        (&|s| s.swap_limit_bytes = None, "swap None beyond"),
        (&|s| s.pids_limit = None, "process limit None"),
        (&|s| s.interfaces.push("eth0".into()), "network interfaces [\"eth0\"]"),
        (&|s| s.root_read_only = false, "the root is writable"),
        (
            &|s| {
                let _ = s.mounts.insert("/suite/below".into(), true);
            },
            "/suite/below is writable",
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
        let wrong = verify(&ground.spec, &bad);
        assert!(wrong.iter().any(|what| what.contains(named)), "{named}: {wrong:?}");
    }
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
    let mut container = ground.engines.start(&spec).await.unwrap();
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
    let streaming = Run { stream: true, ..run(&["attack", "writer"]) };
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
    let mut neighbour = ground.engines.start(&ground.spec).await.unwrap();
    let mut container = ground.engines.start(&ground.spec).await.unwrap();
    let streaming = |words: &[&str]| Run { stream: true, ..run(words) };
    let short = |words: &[&str]| Run { time_ms: 300, ..run(words) };
    let table: &[(Run, End)] = &[
        (run(&["memory", "500"]), End::Signal(9)),
        (run(&["flood"]), End::Signal(25)),
        (streaming(&["attack", "lines"]), End::Signal(25)),
        (streaming(&["flood"]), End::Signal(25)),
        (short(&["spin"]), End::Timeout),
        (short(&["sleep", "60"]), End::Timeout),
        (Run { stream: true, ..short(&["spin"]) }, End::Timeout),
        (run(&["processes", "1000"]), End::Code(0)),
        (run(&["attack", "files", "/tmp"]), End::Code(0)),
        (run(&["attack", "files", "/dev/shm"]), End::Code(0)),
        (Run { output_bytes: 1 << 30, ..run(&["fill", "/tmp/x", "1000"]) }, End::Code(101)),
        (Run { output_bytes: 1 << 30, ..run(&["fill", "/dev/shm/x", "1000"]) }, End::Code(101)),
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
