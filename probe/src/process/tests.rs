use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::*;

pub(crate) fn spec(argv: &[&str]) -> Spawn {
    Spawn {
        argv: argv.iter().map(ToString::to_string).collect(),
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        cwd: "/".into(),
        // SAFETY: cannot fail.
        uid: unsafe { libc::getuid() },
        gid: unsafe { libc::getgid() },
        stdin: None,
        setup: None,
        sizes: BTreeMap::new(),
        units: false,
        time_ms: 10_000,
        output_bytes: 1 << 20,
        stream: false,
        repeat: 1,
        count_instructions: false,
    }
}

/// Runs it without a look at what it wrote.
pub(crate) fn run(spawn: &Spawn, begin: &mut dyn FnMut(), line: &mut dyn FnMut(&str)) -> Exit {
    super::run(spawn, &mut Outputs::default(), begin, line)
}

#[test]
fn ends_are_told_apart() {
    let cases: &[(&[&str], End)] = &[
        (&["true"], End::Code(0)),
        (&["sh", "-c", "exit 3"], End::Code(3)),
        (&["sh", "-c", "kill -9 $$"], End::Signal(9)),
        (&["sh", "-c", "exec head -c 2000000 /dev/zero"], End::Signal(libc::SIGXFSZ)),
    ];
    for (argv, end) in cases {
        assert_eq!(run(&spec(argv), &mut || (), &mut |_| ()).end, *end, "{argv:?}");
    }
    let slow = Spawn { time_ms: 50, ..spec(&["sleep", "5"]) };
    assert_eq!(run(&slow, &mut || (), &mut |_| ()).end, End::Timeout);
    for (argv, why) in [
        (&["no-such-program"][..], "no program `no-such-program`"),
        (&["/etc/passwd"], "exec /etc/passwd: Permission denied"),
    ] {
        let End::NotStarted(text) = run(&spec(argv), &mut || (), &mut |_| ()).end else {
            panic!("{argv:?}")
        };
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn output_is_hashed_and_time_is_counted() {
    let exit = run(
        &spec(&["sh", "-c", "printf dyno; printf oops >&2; sleep 0.05"]),
        &mut || (),
        &mut |_| (),
    );
    assert_eq!(exit.stdout_sha256, hex::encode(Sha256::digest("dyno")));
    assert_eq!((exit.stdout_bytes, &*exit.stdout_tail, &*exit.stderr_tail), (4, "dyno", "oops"));
    assert!(exit.wall_ns >= 50_000_000, "{}", exit.wall_ns);
    assert!(exit.max_rss_bytes > 0 && exit.minor_faults > 0);
    assert!(exit.container_ns >= exit.user_ns + exit.system_ns);
}

#[test]
fn a_stream_comes_in_lines() {
    let mut lines = Vec::new();
    let script = "echo one; echo two >&2; printf three";
    let exit = run(&Spawn { stream: true, ..spec(&["sh", "-c", script]) }, &mut || (), &mut |l| {
        lines.push(l.to_string())
    });
    assert_eq!(lines, ["one", "two", "three"]);
    assert_eq!(exit.stdout_tail, "one\ntwo\nthree");
}

#[test]
fn repeated_processes_are_one_sample() {
    let counter = std::env::temp_dir().join(format!("dyno-repeat-{}", std::process::id()));
    let name = counter.to_str().unwrap();
    let repeated = |repeat: u32, then: &str| {
        let _ = fs::remove_file(&counter);
        let script = format!("echo >> {name}; n=$(wc -l < {name}); sleep 0.02; {then}");
        let mut outputs = Outputs::default();
        let spawn = Spawn { repeat, ..spec(&["sh", "-c", &script]) };
        let exit = super::run(&spawn, &mut outputs, &mut || (), &mut |_| ());
        let runs = fs::read_to_string(&counter).unwrap().len();
        (runs, exit, String::from_utf8(outputs.part(Stream::Stdout, 0)).unwrap())
    };
    let (runs, once, _) = repeated(1, "echo a");
    assert_eq!(runs, 1);
    let (runs, exit, text) = repeated(5, "echo a; echo $n >&2");
    assert_eq!((runs, exit.end.clone(), &*text), (5, End::Code(0), "a\n"));
    assert!(exit.wall_ns >= 100_000_000 && exit.minor_faults > 3 * once.minor_faults);
    assert!(exit.max_rss_bytes < 2 * once.max_rss_bytes);
    assert_eq!((&exit.stdout_sha256, exit.stdout_bytes), (&once.stdout_sha256, 2));
    assert_eq!(exit.varied, BTreeSet::from([Stream::Stderr]));
    // One that fails ends them, and one that answers otherwise is seen.
    let (runs, exit, _) = repeated(5, "test $n -lt 3 || exit 7");
    assert_eq!((runs, exit.end), (3, End::Code(7)));
    let (runs, exit, text) = repeated(4, "test $n = 2 && echo b || echo a");
    assert_eq!((runs, &*text, &*exit.stdout_tail), (4, "b\n", "b\n"));
    assert_eq!(exit.varied, BTreeSet::from([Stream::Stdout]));
    // Their time is that of all together.
    let spawn = Spawn { repeat: 100, time_ms: 300, ..spec(&["sleep", "0.1"]) };
    let exit = run(&spawn, &mut || (), &mut |_| ());
    assert_eq!(exit.end, End::Timeout);
    assert!((250_000_000..2_000_000_000).contains(&exit.wall_ns), "{}", exit.wall_ns);
    fs::remove_file(&counter).unwrap();
}

#[test]
fn streams_that_are_opened_by_name_are_seen() {
    for (script, text, opened) in [
        ("echo a; echo b", "a\nb\n", &[][..]),
        ("echo a; echo b >> /dev/stdout; echo c", "a\nb\nc\n", &[Stream::Stdout]),
        ("echo a; echo b >> /proc/self/fd/2; echo c", "a\nc\n", &[Stream::Stderr]),
        ("echo a; echo b | tee -a /dev/stdout; echo c", "a\nb\nb\nc\n", &[Stream::Stdout]),
        // What nothing can hold: it is emptied.
        ("echo a; echo b > /dev/stdout; echo c", "b\nc\n", &[Stream::Stdout]),
        ("echo b > /dev/stdout", "b\n", &[Stream::Stdout]),
    ] {
        let mut outputs = Outputs::default();
        let spawn = spec(&["sh", "-c", script]);
        let exit = super::run(&spawn, &mut outputs, &mut || (), &mut |_| ());
        let written = String::from_utf8(outputs.part(Stream::Stdout, 0)).unwrap();
        assert_eq!((&*written, &*exit.stdout_tail), (text, text), "{script}");
        assert_eq!(exit.opened, opened.iter().copied().collect(), "{script}");
        assert_eq!(outputs.part(Stream::Stdout, 1), text.as_bytes()[1..], "{script}");
    }
}

/// A program whose threads wait for each other in loops would else hold its own other threads up.
#[test]
fn threads_take_turns_while_instructions_are_counted() {
    let counted = Spawn { count_instructions: true, ..spec(&["prog", "x"]) };
    let words = command(&counted);
    let has = |word: &str| words.iter().any(|own| own == word);
    assert!(has("--tool=cachegrind") && has("--fair-sched=try"), "{words:?}");
    assert_eq!(words[words.len() - 3..], ["--", "prog", "x"]);
    assert_eq!(command(&spec(&["prog", "x"])), ["prog", "x"]);
}
