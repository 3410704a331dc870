//! The probe as `RUSTC_WRAPPER`: what a build by cargo did, unit by unit.
//!
//! cargo starts the wrapper instead of the compiler, with the compiler's command line. The wrapper
//! starts the compiler, passes its messages on, notes when it says that its metadata are ready
//! (`"emit":"metadata"`, a line of JSON on standard error), and how it ended. No nightly and no
//! feature of cargo is needed. With pipelining off it keeps that one line back until the compiler
//! has ended: dependents wait, as if there were no pipelining.
//!
//! Runs of build scripts are no compilations. To see them too, the wrapper puts a script in the
//! place of a build script that was just linked, which names this program as its interpreter.
//!
//! Each unit is one line appended to a file. The wrapper runs as the build's user, since cargo
//! starts it: a hostile compiler could write there too. The times of the build as a whole are the
//! probe's, and whoever reads the units compares.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, ExitCode, Stdio};
use std::time::Duration;

use dyno_probe::{COMMANDS, FLAGS, PIPELINING, TIMINGS, UNITS_MAX, UnitCommand, WrapperUnit};

use crate::sys::{nanoseconds, now_ns, open_regular, wait4};

/// The wrapper's first argument when it stands for a build script.
const BUILD_SCRIPT: &str = "build-script";

/// What the build script is called then.
const REAL_SCRIPT: &str = "dyno-build-script";

/// The largest line of JSON that is looked into; messages of compilers are shorter.
const MESSAGE_MAX: usize = 8 << 20;

/// More of the file of units than this is not read.
const FILE_MAX: u64 = 32 << 20;

/// Pauses between looks at the number of threads: the first soon, for short processes, then seldom.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(4);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(128);

/// The units in a file of them, with what is not one left out. Times stay as they are.
pub fn read_units(file: &str) -> Vec<WrapperUnit> {
    let Ok(file) = open_regular(Path::new(file)) else { return Vec::new() };
    let mut text = Vec::new();
    let _ = file.take(FILE_MAX).read_to_end(&mut text);
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok()).take(UNITS_MAX).collect()
}

/// The life of a wrapper.
pub fn main(units: &Path) -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let outcome = match words.next() {
        None => Err("a wrapper needs a command".to_string()),
        Some(word) if word == BUILD_SCRIPT => run_script(words.collect(), units),
        Some(program) => compile(&program, words.collect(), units),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: dyno's wrapper: {error}");
        ExitCode::FAILURE
    })
}

/// Starts `program` in the place of this process.
fn exec(program: &OsString, words: &[OsString]) -> Result<ExitCode, String> {
    let error = Command::new(program).args(words).exec();
    Err(format!("{}: {error}", program.display()))
}

fn is_on(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "on")
}

fn compile(program: &OsString, words: Vec<OsString>, units: &Path) -> Result<ExitCode, String> {
    let text =
        expand_response_files(words.iter().map(|w| w.to_string_lossy().into_owned()).collect());
    let Some(mut unit) = parse_unit(&text) else { return exec(program, &words) };
    if is_on(COMMANDS) && unit.primary {
        let argv = std::iter::once(program.to_string_lossy().into_owned()).chain(text);
        let cwd = std::env::current_dir().map_err(|error| error.to_string())?;
        let env = std::env::vars().collect::<BTreeMap<_, _>>();
        let cwd = cwd.display().to_string();
        unit.command = Some(UnitCommand { argv: argv.collect(), env, cwd });
    }
    let mut command = Command::new(program);
    command.args(&words).stderr(Stdio::piped());
    let flags = std::env::var(FLAGS).unwrap_or_default();
    let timings = ["--json=timings", "-Zunstable-options"].into_iter().filter(|_| is_on(TIMINGS));
    let extra_flags: Vec<&str> = flags.split_whitespace().chain(timings).collect();
    if !extra_flags.is_empty() {
        command.args(extra_flags).env("RUSTC_BOOTSTRAP", "1");
    }
    let hold = std::env::var_os(PIPELINING).is_some_and(|value| value == "off");
    let code = run_watched(command, &mut unit, hold)?;
    if unit.ok && is_build_script(&unit) && !is_on(COMMANDS) {
        // Not to see its run is better than to break the build.
        let _ = shim_build_script(&unit);
    }
    append_unit(&unit, units);
    Ok(code)
}

/// The command line with the words of `@file` in its place, one a line: where words are longer than
/// the kernel takes, cargo writes them there. The file is cargo's, and gone when it ends.
fn expand_response_files(words: Vec<String>) -> Vec<String> {
    let words = words.into_iter().flat_map(|word| {
        let file = word.strip_prefix('@').and_then(|path| fs::read_to_string(path).ok());
        file.map_or_else(|| vec![word], |text| text.lines().map(String::from).collect())
    });
    words.collect()
}

fn is_build_script(unit: &WrapperUnit) -> bool {
    unit.crate_name.starts_with("build_script_") && unit.crate_types == ["bin"]
}

/// What a command line says of the unit; `None` where cargo compiles none: it asks for the version
/// (`-vV`) and prints (`--print`), and build scripts try out what a compiler can do. Only cargo's
/// own units have messages as JSON and `-C metadata`.
fn parse_unit(words: &[String]) -> Option<WrapperUnit> {
    let value = |name: &str| {
        let position = words.iter().position(|word| word == name);
        let joined = || words.iter().find_map(|w| w.strip_prefix(&format!("{name}=")));
        position.and_then(|position| words.get(position + 1)).map(String::as_str).or_else(joined)
    };
    let values = |name: &str| -> Vec<&str> {
        let pairs = words.windows(2).filter(|pair| pair[0] == name);
        let joined = words.iter().filter_map(|w| w.strip_prefix(name)?.strip_prefix('='));
        pairs.map(|pair| pair[1].as_str()).chain(joined).collect()
    };
    let crate_name = value("--crate-name")?;
    if crate_name == "___" || words.iter().any(|w| w.starts_with("--print") || w == "-vV") {
        return None;
    }
    let codegen = values("-C");
    let is_unit = words.iter().any(|word| word == "--error-format=json")
        && codegen.iter().any(|option| option.starts_with("metadata="));
    if !is_unit {
        return None;
    }
    let extra = codegen.into_iter().find_map(|v| v.strip_prefix("extra-filename="));
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // `--extern name=path`, with options before a colon, or no path for what the sysroot has.
    let file = |extern_: &&str| extern_.split_once('=').map(|(_, path)| path.to_string());
    Some(WrapperUnit {
        name: variable("CARGO_PKG_NAME"),
        version: variable("CARGO_PKG_VERSION"),
        crate_name: crate_name.into(),
        crate_types: values("--crate-type").into_iter().map(String::from).collect(),
        extra_filename: extra.unwrap_or_default().into(),
        externs: values("--extern").iter().filter_map(file).collect(),
        out_dir: value("--out-dir").unwrap_or_default().into(),
        script_out_dir: std::env::var("OUT_DIR").ok(),
        generates_code: values("--emit").iter().any(|kinds| kinds.split(',').any(|k| k == "link")),
        primary: std::env::var_os("CARGO_PRIMARY_PACKAGE").is_some(),
        ..WrapperUnit::default()
    })
}

/// Runs `command` with its standard error coming through here, and notes what it came to.
fn run_watched(
    mut command: Command,
    unit: &mut WrapperUnit,
    hold: bool,
) -> Result<ExitCode, String> {
    unit.start_ns = now_ns();
    let name = command.get_program().display().to_string();
    let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    let pid = child.id();
    let mut messages = Messages { hold, ..Messages::default() };
    if let Some(errors) = child.stderr.take() {
        pass_on(errors, pid, &mut messages, unit);
    }
    // SAFETY: the child of this process, which nothing else waits for.
    let (status, usage) = wait4(pid as libc::pid_t);
    unit.end_ns = now_ns();
    unit.user_ns = nanoseconds(usage.ru_utime);
    unit.system_ns = nanoseconds(usage.ru_stime);
    unit.max_rss_bytes = usage.ru_maxrss.max(0) as u64 * 1024;
    unit.ok = status == 0;
    messages.release_held();
    Ok(match libc::WIFEXITED(status) {
        true => ExitCode::from(libc::WEXITSTATUS(status) as u8),
        false => ExitCode::from(128u8.wrapping_add(libc::WTERMSIG(status) as u8)),
    })
}

/// Passes standard error on until its end, and looks at the threads meanwhile.
fn pass_on(mut errors: ChildStderr, pid: u32, messages: &mut Messages, unit: &mut WrapperUnit) {
    let mut buffer = vec![0; 64 << 10];
    let mut pause = LOOK_PAUSE_MIN;
    let mut is_open = true;
    while is_open {
        if poll(errors.as_raw_fd(), pause) {
            match errors.read(&mut buffer) {
                Ok(0) => is_open = false,
                Ok(count) => messages.push(&buffer[..count], unit),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => is_open = false,
            }
        } else {
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
        unit.threads = unit.threads.max(threads(pid));
    }
    messages.finish();
}

fn poll(fd: RawFd, pause: Duration) -> bool {
    let mut poll_fd = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: passes a live structure and its number.
    unsafe { libc::poll(&mut poll_fd, 1, pause.as_millis() as i32) > 0 }
}

/// How many threads a process has now; 0 if it is gone.
fn threads(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc(5): field 20; the second is a name in brackets and may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().nth(17).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The compiler's messages on their way to cargo.
#[derive(Default)]
struct Messages {
    /// Keep the notice of the metadata.
    hold: bool,
    partial: Vec<u8>,
    held_notice: Vec<u8>,
}

impl Messages {
    fn push(&mut self, bytes: &[u8], unit: &mut WrapperUnit) {
        let now = now_ns();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(part);
            let whole = part.ends_with(b"\n");
            if whole || self.partial.len() > MESSAGE_MAX {
                let line = std::mem::take(&mut self.partial);
                match if whole { parse_notice(&line) } else { None } {
                    Some(Notice::Metadata) => {
                        unit.metadata_ns.get_or_insert(now);
                        if self.hold {
                            self.held_notice.extend_from_slice(&line);
                            continue;
                        }
                    }
                    // Cargo knows no such message and would show it.
                    Some(Notice::Section { name, starts }) => {
                        match name.as_str() {
                            "codegen" if starts => drop(unit.codegen_ns.get_or_insert(now)),
                            "link" if starts => drop(unit.link_ns.get_or_insert(now)),
                            _ => {}
                        }
                        continue;
                    }
                    None => {}
                }
                send(&line);
            }
        }
    }

    /// What came without a line's end goes on as it is.
    fn finish(&mut self) {
        send(&std::mem::take(&mut self.partial));
    }

    fn release_held(&mut self) {
        send(&std::mem::take(&mut self.held_notice));
    }
}

fn send(bytes: &[u8]) {
    let _ = io::stderr().lock().write_all(bytes);
}

#[derive(Debug, PartialEq, Eq)]
enum Notice {
    Metadata,
    Section { name: String, starts: bool },
}

/// What a line is, of those that matter here. Anything else may stand on standard error, cut in
/// half or mixed with others: it is no notice.
fn parse_notice(line: &[u8]) -> Option<Notice> {
    // Most lines are diagnostics, and long.
    let has = |text: &str| line.windows(text.len()).any(|window| window == text.as_bytes());
    if !line.starts_with(b"{") || !(has("\"emit\"") || has("section_timing")) {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    let text = |key: &str| value.get(key).and_then(|value| value.as_str());
    if text("emit") == Some("metadata") && value.get("artifact").is_some() {
        return Some(Notice::Metadata);
    }
    let name = text("name").filter(|_| text("$message_type") == Some("section_timing"))?;
    Some(Notice::Section { name: name.into(), starts: text("event") == Some("start") })
}

/// Puts a script in the place of the build script that was linked, if it can be executed here.
fn shim_build_script(unit: &WrapperUnit) -> io::Result<()> {
    let folder = Path::new(&unit.out_dir);
    let linked = folder.join(format!("{}{}", unit.crate_name, unit.extra_filename));
    let program = std::env::current_exe()?;
    fs::rename(&linked, folder.join(REAL_SCRIPT))?;
    fs::write(&linked, format!("#!{} {BUILD_SCRIPT}\n", program.display()))?;
    fs::set_permissions(&linked, fs::Permissions::from_mode(0o755))
}

/// Runs the build script that `words` (the script that stands for it, and its arguments) mean.
fn run_script(words: Vec<OsString>, units: &Path) -> Result<ExitCode, String> {
    let script = PathBuf::from(words.first().ok_or("a build script needs a name")?);
    let folder = script.parent().unwrap_or(Path::new("."));
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let mut unit = WrapperUnit {
        name: variable("CARGO_PKG_NAME"),
        version: variable("CARGO_PKG_VERSION"),
        out_dir: folder.display().to_string(),
        script_out_dir: std::env::var("OUT_DIR").ok(),
        links: std::env::var("CARGO_MANIFEST_LINKS").ok(),
        dep_variables: std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .filter(|name| name.starts_with("DEP_"))
            .collect(),
        ..WrapperUnit::default()
    };
    let mut command = Command::new(folder.join(REAL_SCRIPT));
    command.args(&words[1..]);
    let code = run_watched(command, &mut unit, false)?;
    append_unit(&unit, units);
    Ok(code)
}

/// Appends the unit to the file: one write, so that units of others do not mix with it.
fn append_unit(unit: &WrapperUnit, units: &Path) {
    let Ok(mut line) = serde_json::to_vec(unit) else { return };
    line.push(b'\n');
    if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(units) {
        let _ = file.write_all(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn what_a_command_line_says() {
        let unit = parse_unit(&words(
            "--crate-name syn --edition=2021 src/lib.rs --error-format=json --json=artifacts \
             --crate-type lib --emit=dep-info,metadata,link -C embed-bitcode=no -C metadata=1 \
             -C extra-filename=-5a --out-dir /tmp/target/debug/deps -L dependency=/tmp/d \
             --extern proc_macro2=/tmp/d/libproc_macro2-1.rmeta --extern proc_macro \
             --extern noprelude:alloc=/tmp/d/liballoc-2.rlib --cap-lints allow",
        ))
        .unwrap();
        assert_eq!((&*unit.crate_name, &*unit.extra_filename), ("syn", "-5a"));
        assert_eq!(unit.crate_types, ["lib"]);
        assert_eq!(unit.externs, ["/tmp/d/libproc_macro2-1.rmeta", "/tmp/d/liballoc-2.rlib"]);
        assert_eq!(unit.out_dir, "/tmp/target/debug/deps");
        assert!(unit.generates_code);
        let file = std::env::temp_dir().join(format!("dyno-words-{}", std::process::id()));
        fs::write(&file, "--crate-name\nx\n--error-format=json\n-C\nmetadata=1\n").unwrap();
        let arguments = ["--emit=dep-info,metadata".into(), format!("@{}", file.display())];
        let unit = parse_unit(&expand_response_files(arguments.into())).unwrap();
        assert_eq!((&*unit.crate_name, unit.generates_code), ("x", false));
        fs::remove_file(&file).unwrap();
        assert_eq!(expand_response_files(words("@gone a")), ["@gone", "a"]);
        let script = "--edition=2021 --crate-name=x --crate-type=lib --emit=metadata src/probe.rs";
        let asking =
            ["-vV", "- --crate-name ___ --print=file-names", "--crate-name x --print cfg", script];
        for asking in asking {
            assert_eq!(parse_unit(&words(asking)), None, "{asking}");
        }
    }

    #[test]
    fn lines_that_matter() {
        let metadata =
            br#"{"$message_type":"artifact","artifact":"/t/libx.rmeta","emit":"metadata"}"#;
        let section =
            br#"{"$message_type":"section_timing","event":"start","name":"codegen","time":1}"#;
        assert_eq!(parse_notice(metadata), Some(Notice::Metadata));
        let name = "codegen".to_string();
        assert_eq!(parse_notice(section), Some(Notice::Section { name, starts: true }));
        let others: [&[u8]; 5] = [
            br#"{"$message_type":"artifact","artifact":"/t/libx.rlib","emit":"link"}"#,
            br#"{"message":"\"emit\":\"metadata\"","artifact":"x"}"#,
            &metadata[..40],
            b"warning: \"emit\":\"metadata\"",
            b"",
        ];
        for line in others {
            assert_eq!(parse_notice(line), None, "{}", String::from_utf8_lossy(line));
        }
    }

    /// A compiler that says `script`, which the wrapper runs; what came through, and the unit.
    fn wrapped(script: &str, hold: bool) -> (WrapperUnit, u64, String) {
        let folder = std::env::temp_dir().join(format!("dyno-wrapper-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let output_file = folder.join(format!("seen-{hold}-{}", script.len()));
        let file = fs::File::create(&output_file).unwrap();
        // SAFETY: one child that gets a standard error of its own, and ends.
        let (read, mut write) = crate::sys::pipe().unwrap();
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: descriptors are live.
            unsafe { libc::dup2(file.as_raw_fd(), 2) };
            let mut command = Command::new("sh");
            command.args(["-c", script]).stderr(Stdio::piped());
            let mut unit = WrapperUnit::default();
            let _ = run_watched(command, &mut unit, hold);
            let _ = write.write_all(&serde_json::to_vec(&unit).unwrap());
            // SAFETY: does not return.
            unsafe { libc::_exit(0) };
        }
        drop(write);
        let unit: WrapperUnit = serde_json::from_reader(read).unwrap();
        wait4(pid);
        let output = fs::read_to_string(&output_file).unwrap();
        (unit.clone(), unit.end_ns - unit.start_ns, output)
    }

    #[test]
    fn the_notice_is_passed_on_or_held_back() {
        let notice = r#"{"artifact":"a.rmeta","emit":"metadata"}"#;
        let script =
            format!("printf 'half '; printf 'of\n{notice}\n' >&2; sleep 0.1; printf 'end' >&2");
        let (unit, took, said) = wrapped(&script, false);
        assert_eq!(said, format!("of\n{notice}\nend"));
        let ready = unit.metadata_ns.unwrap() - unit.start_ns;
        assert!(ready + 90_000_000 < took, "{ready} of {took}");
        assert!(unit.ok && unit.threads >= 1 && unit.max_rss_bytes > 0);
        let (unit, _, said) = wrapped(&script, true);
        assert_eq!(said, format!("of\nend{notice}\n"));
        assert!(unit.metadata_ns.is_some());
        // Cut in half, and between lines that are none of it.
        let cut = format!(
            "printf 'x\n{}' >&2; sleep 0.1; printf '{}\n{{\"emit\":\ny' >&2",
            &notice[..20],
            &notice[20..]
        );
        let (unit, took, said) = wrapped(&cut, false);
        assert_eq!(said, format!("x\n{notice}\n{{\"emit\":\ny"));
        assert!(unit.metadata_ns.unwrap() - unit.start_ns > 90_000_000 && took > 0);
        let (unit, _, said) = wrapped(&cut, true);
        assert_eq!(said, format!("x\n{{\"emit\":\ny{notice}\n"));
        assert!(unit.metadata_ns.is_some());
        // Of two that write at once: no notice, and nothing of it lost.
        let mixed = "printf '{\"artifact\":{\"artifact\":\n\"b\",\"emit\":\"metadata\"}\n' >&2";
        let (unit, _, said) = wrapped(mixed, true);
        assert_eq!(unit.metadata_ns, None);
        assert_eq!(said, "{\"artifact\":{\"artifact\":\n\"b\",\"emit\":\"metadata\"}\n");
        let (unit, _, said) = wrapped("echo no >&2; exit 3", true);
        assert_eq!((unit.ok, unit.metadata_ns, &*said), (false, None, "no\n"));
    }
}
