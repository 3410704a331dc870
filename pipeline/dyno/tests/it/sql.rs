//! `dyno sql`: a query, statements from standard input, and the prompt through a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use dyno_store::Store;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::world::{Told, World};

#[path = "../../../../store/tests/common/mod.rs"]
#[allow(dead_code)]
mod common;

const PATIENCE: Duration = Duration::from_secs(60);

/// A world whose store holds one job.
fn world() -> World {
    let world = World::bare();
    let url = world.path().join("store").display().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&url).await.unwrap();
        store.publish(&common::record("one")).await.unwrap();
    });
    world
}

/// What `dyno sql` says of `input` on its standard input.
fn piped(world: &World, words: &[&str], input: &[u8]) -> Told {
    let mut command = assert_cmd::Command::from_std(world.command(words));
    let output = command.write_stdin(input).timeout(PATIENCE).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Told { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

#[test]
fn statements_come_from_standard_input() {
    let world = world();
    let count = "SELECT count(*) AS n FROM runs";
    for (input, out) in [
        ("", ""),
        (";;\n-- nothing\n", ""),
        (count, "n\n1\n"),
        ("SELECT 1 AS a; SELECT\n';' AS b,\n 2 AS c;\n", "a\n1\nb,c\n;,2\n"),
        (
            "SELECT 1 AS a\n; -- first\n\\o json\nSELECT 2 AS b; SELECT 3 AS c",
            "a\n1\n{\"b\":2}\n{\"c\":3}\n",
        ),
        ("SELECT 1 AS a;\n\\q\nSELECT nonsense;\n", "a\n1\n"),
    ] {
        let told = piped(&world, &["sql", "--output", "csv"], input.as_bytes());
        assert_eq!((told.code, told.out.as_str()), (Some(0), out), "{input}: {told:?}");
    }
    // The first error ends it; what came before it was answered.
    for (input, code, out, parts) in [
        (
            &b"SELECT 1 AS a;\nSELECT *\nFROM nowhere; SELECT 2 AS b;"[..],
            2,
            "a\n1\n",
            &["standard input, line 3: table 'nowhere' not found"][..],
        ),
        (b"DROP TABLE runs;", 2, "", &["line 1: ", "never changed"]),
        (b"SELECT 'open;\n", 2, "", &["line 1: "]),
        (b"SELECT 1 AS a;\n\\dt\n", 2, "a\n1\n", &["line 2: there is no command \\dt", "hint: "]),
        (b"SELECT '\xff';", 2, "", &["line 1: not UTF-8"]),
    ] {
        let told = piped(&world, &["sql", "--output", "csv"], input);
        assert_eq!((told.code, told.out.as_str()), (Some(code), out), "{told:?}");
        for part in parts {
            assert!(told.err.contains(part), "{part}: {told:?}");
        }
    }
    let long = format!("SELECT '{}", "x".repeat(2 << 20));
    let told = piped(&world, &["sql"], long.as_bytes());
    assert_eq!(told.code, Some(2), "{}", told.err);
    assert!(told.err.contains("a statement of more than 1048576 bytes"), "{}", told.err);
}

#[test]
fn an_old_name_works_and_is_noted_on_standard_error() {
    let world = world();
    for (name, is_noted) in [("crowd_df", true), ("peer_prior_df", false)] {
        let query = format!("SELECT count({name}) AS n FROM comparisons");
        let told = world.dyno(&["sql", "--output", "csv", &query]);
        assert_eq!((told.code, told.out.as_str()), (Some(0), "n\n0\n"), "{told:?}");
        let note = "the column `crowd_df` is now called `peer_prior_df`; the old name still works";
        assert_eq!(told.err.contains(note), is_noted, "{told:?}");
    }
}

#[test]
fn answers_come_in_every_format() {
    let world = world();
    let query = "SELECT benchmark, paired(baseline, candidate)['rounds'] AS n FROM rounds \
                 WHERE metric = 'wall' GROUP BY benchmark ORDER BY benchmark";
    for (format, out) in [
        ("csv", "benchmark,n\njson,4\nsort,3\n"),
        ("json", "{\"benchmark\":\"json\",\"n\":4}\n{\"benchmark\":\"sort\",\"n\":3}\n"),
    ] {
        let told = world.dyno(&["sql", "--output", format, query]);
        assert_eq!((told.code, told.out.as_str()), (Some(0), out), "{told:?}");
    }
    // Parquet to standard output and to a file named at a command; both read back.
    let rows = |file: File| {
        let reader = SerializedFileReader::new(file).unwrap();
        let rows = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string());
        rows.collect::<Vec<_>>()
    };
    let expected = ["{benchmark: \"json\", n: 4}", "{benchmark: \"sort\", n: 3}"];
    let path = world.path().join("out.parquet");
    let mut command = world.command(&["sql", "--output", "parquet", query]);
    command.stdout(File::create(&path).unwrap());
    assert!(command.status().unwrap().success());
    assert_eq!(rows(File::open(&path).unwrap()), expected);
    let input = format!("\\o parquet named one.parquet\n{query};\nSELECT 1 AS a;");
    let told = piped(&world, &["sql", "--output", "csv"], input.as_bytes());
    assert_eq!((told.code, told.out.as_str()), (Some(0), "a\n1\n"), "{told:?}");
    assert!(told.err.contains("2 rows in named one.parquet"), "{told:?}");
    assert_eq!(rows(File::open(world.path().join("named one.parquet")).unwrap()), expected);
    let told = piped(&world, &["sql", "--output", "parquet"], b"SELECT 1; SELECT 2;");
    assert_eq!(told.code, Some(2));
    assert!(told.err.contains("a Parquet file holds one answer"), "{}", told.err);
    let told = piped(&world, &["sql"], b"\\o csv no/such/folder.csv\nSELECT 1;");
    assert_eq!(told.code, Some(4));
    assert!(told.err.contains("writing no/such/folder.csv: "), "{}", told.err);
}

#[test]
fn tables_and_functions_are_described() {
    let world = world();
    let told = piped(&world, &["sql"], b"\\d\n\\d paired\n\\d rounds\n\\?\n");
    assert_eq!(told.code, Some(0), "{told:?}");
    insta::assert_snapshot!("described", told.out);
    assert_eq!(world.dyno(&["sql", "\\d noise"]).code, Some(0));
    for (name, hint) in
        [("rnus", "did you mean `runs`?"), ("zzzzzzz", "there are builds, comparisons, ")]
    {
        let told = world.dyno(&["sql", &format!("\\d {name}")]);
        assert_eq!(told.code, Some(2));
        assert!(told.err.contains(hint), "{told:?}");
    }
}

/// A `dyno` on a terminal of its own.
struct Conversation {
    dyno: Child,
    keys: File,
    seen: Receiver<Vec<u8>>,
    /// What was seen and not yet waited for.
    screen: String,
}

impl Conversation {
    fn start(mut command: Command) -> Self {
        let (mut ours, mut theirs) = (0, 0);
        let size = libc::winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let none = std::ptr::null_mut();
        // SAFETY: fills two integers from a live struct; both descriptors are then owned.
        let (ours, theirs) = unsafe {
            assert_eq!(libc::openpty(&mut ours, &mut theirs, none, none.cast(), &size), 0);
            (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
        };
        command.env("TERM", "xterm").env("NO_COLOR", "1");
        command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap());
        command.stderr(theirs);
        // SAFETY: system calls alone between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let dyno = command.spawn().unwrap();
        drop(command);
        let keys = File::from(ours);
        let mut output = keys.try_clone().unwrap();
        let (send, seen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the end: nobody has the other side any more.
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                drop(send.send(bytes[..n].to_vec()));
            }
        });
        Self { dyno, keys, seen, screen: String::new() }
    }

    /// Waits until `text` is on the screen; returns what came up to it.
    fn until(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.screen.find(text) {
                let rest = self.screen.split_off(at + text.len());
                return std::mem::replace(&mut self.screen, rest);
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.seen.recv_timeout(left) {
                Ok(bytes) => self.screen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} never came: {}", self.screen),
            }
        }
    }

    /// Types at the next prompt.
    fn types(&mut self, keys: &str) {
        self.until("dyno> ");
        self.keys(keys);
    }

    fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end; returns the exit code.
    fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.dyno.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "dyno does not end: {}", self.screen);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        drop(self.dyno.kill());
        drop(self.dyno.wait());
    }
}

fn prompt(world: &World) -> Conversation {
    let mut command = world.command(&["sql"]);
    command.env("XDG_STATE_HOME", world.path().join("state"));
    Conversation::start(command)
}

#[test]
fn the_prompt_answers_and_goes_on() {
    let world = world();
    let mut at = prompt(&world);
    // A statement over lines is one, and an error is not the end.
    at.types("SELECT count(*) AS many,\r");
    at.until(" ...> ");
    at.keys("'b;' AS text\r");
    at.until(" ...> ");
    at.keys("FROM runs;\r");
    at.until("| 1    | b;   |");
    at.until("(1 row)");
    at.types("SELECT * FROM nowhere;\r");
    at.until("error: table 'nowhere' not found");
    at.types("\\d\r");
    at.until("a job, with everything needed to repeat it");
    at.types("\\nonsense\r");
    at.until("hint: `\\?` lists the commands");
    // Tab: the only table that begins so, then its only column.
    at.types("SELECT max(rounds) + 40 AS tabbed FROM ru\t;\r");
    at.until("| 44     |");
    at.types("\\x\r");
    at.until("expanded rows are on");
    at.types("SELECT chr(27) || '[31m' AS hostile;\r");
    at.until("hostile | ␛[31m");
    at.types("\\timing\r");
    at.types("SELECT 1;\r");
    at.until("time: ");
    // A command behind a statement that is not ended, and words that mean one elsewhere.
    at.types("SELECT 1\r");
    at.until(" ...> ");
    at.keys("exit\r");
    at.until("the statement is not ended: end it with `;`, or leave it by Ctrl-C");
    at.until(" ...> ");
    at.keys("\\timing\r");
    at.until("the statement before was not ended by `;`, and is left out");
    at.until("timing is off");
    at.types("help\r");
    at.until("SQL ends with `;` and may span lines.");
    // Rows that are wider than the terminal come a column a line, and long values are cut.
    at.types("\\x\r");
    at.until("expanded rows are off");
    at.types("SELECT repeat('w', 9000) AS wide, 7 AS after;\r");
    at.until("-[ row 1 ]-");
    at.until(" characters more)");
    at.until("after | 7");
    // Ctrl-C abandons what is typed; Ctrl-D leaves.
    at.types("SELECT never sent\r");
    at.until(" ...> ");
    at.keys("nor this\x03");
    at.types("\\o parquet\r");
    at.until("hint: name a file: \\o parquet answer.parquet");
    at.types("\x04");
    assert_eq!(at.end(), Some(0), "{}", at.screen);

    let history = std::fs::read_to_string(world.path().join("state/dyno/sql_history")).unwrap();
    assert!(history.contains("SELECT count(*) AS many,\\n'b;' AS text\\nFROM runs;"), "{history}");
    assert!(history.contains("FROM nowhere;") && !history.contains("never sent"), "{history}");
    // The next prompt has it: up, three commands back, is the last statement.
    let mut at = prompt(&world);
    at.types("\x1b[A\x1b[A\r");
    at.until("after | 7");
    at.types("exit\r");
    assert_eq!(at.end(), Some(0));
}

#[test]
fn ctrl_c_ends_a_query_and_not_the_prompt() {
    let world = world();
    let mut at = prompt(&world);
    at.types(
        "SELECT count(*) FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b;\r",
    );
    // Running, once the terminal is no longer rustyline's.
    at.until("\x1b[?2004l");
    std::thread::sleep(Duration::from_millis(500));
    at.keys("\x03");
    at.until("interrupted");
    at.types("SELECT 41 + 1 AS after;\r");
    at.until("| 42    |");
    // A termination signal at the prompt leaves the terminal as it was.
    at.until("dyno> ");
    // SAFETY: sends a signal to our own child, which was not waited for.
    assert_eq!(unsafe { libc::kill(at.dyno.id() as i32, libc::SIGTERM) }, 0);
    assert_eq!(at.end(), Some(130));
    // SAFETY: fills a live struct.
    let modes = unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        let keys = std::os::fd::AsRawFd::as_raw_fd(&at.keys);
        assert_eq!(libc::tcgetattr(keys, &mut modes), 0);
        modes
    };
    assert_ne!(modes.c_lflag & libc::ECHO, 0, "echo is off");
}

#[test]
fn parquet_is_not_for_a_terminal() {
    let world = world();
    let mut at = Conversation::start(world.command(&["sql", "--output", "parquet", "SELECT 1"]));
    at.until("error: parquet is not for a terminal");
    at.until("> answer.parquet");
    assert_eq!(at.end(), Some(2));
}

/// Where no history can be kept, the prompt says so and works.
#[test]
fn a_prompt_without_a_history_works() {
    let world = world();
    world.write("state", "a file where a folder should be");
    let mut at = prompt(&world);
    at.until("note: no history is kept: ");
    at.types("SELECT 6 * 7 AS answer;\r");
    at.until("| 42     |");
    at.types("\x04");
    assert_eq!(at.end(), Some(0));
}

/// Chains of operators are walked by recursion: they are answered, or refused with a sentence.
#[test]
fn a_long_statement_ends_no_process() {
    let world = world();
    let chain = |links: usize| format!("SELECT {}1 AS x", "1+".repeat(links));
    let hosts = |links: usize| {
        let hosts: Vec<String> = (0..links).map(|n| format!("host = 'h{n}'")).collect();
        format!("SELECT count(*) AS n FROM runs WHERE {}", hosts.join(" OR "))
    };
    let list = |values: usize| {
        let hosts: Vec<String> = (0..values).map(|n| format!("'h{n}'")).collect();
        format!("SELECT count(*) AS n FROM runs WHERE host NOT IN ({})", hosts.join(", "))
    };
    let unions = |links: usize| format!("SELECT 1 AS x{}", " UNION ALL SELECT 1".repeat(links));
    let parts = |links: usize| format!("SELECT {}1{} AS x", "(".repeat(links), ")".repeat(links));
    for (what, sql, expected) in [
        ("a chain", chain(400), Ok("401")),
        ("a longer one", chain(6000), Err("this statement is too long")),
        ("a filter", hosts(400), Ok("0")),
        ("a longer filter", hosts(20_000), Err("this statement is too long")),
        ("a list", list(20_000), Ok("1")),
        ("unions", unions(200), Ok("1")),
        ("parentheses", parts(2000), Err("recursion limit")),
        ("far dates", "SELECT CAST(DATE '9999-12-31' AS timestamp)".into(), Err("exceeds")),
        (
            "farther dates",
            "SELECT DATE '2020-01-01' + INTERVAL '999999' YEAR".into(),
            Err("overflow"),
        ),
    ] {
        let told = piped(&world, &["sql", "--output", "csv"], format!("{sql};\n").as_bytes());
        let shown = (told.code, told.out.lines().nth(1), &told.err[..told.err.len().min(400)]);
        match expected {
            Ok(value) => {
                assert_eq!((shown.0, shown.1), (Some(0), Some(value)), "{what}: {shown:?}")
            }
            Err(text) => {
                assert_eq!(shown.0, Some(2), "{what}: {shown:?}");
                assert!(
                    told.err.contains(text) && !told.err.contains("panicked"),
                    "{what}: {shown:?}"
                );
            }
        }
    }
}
