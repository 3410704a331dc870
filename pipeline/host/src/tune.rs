//! Setting knobs, and setting them back. Former values first, on the disk; then one knob after the
//! other, each read back. What fails is told and the rest goes on. The first former values are
//! kept however often it is called.

use std::fmt::Write as _;

use dyno_model::catalog::host::{Cores, Host, format_cores};

use super::finding::{Change, Finding, Verdict};
use super::knobs::TuneOptions;
use super::machine::{FileState, Machine, same, value};
use super::state::{Entry, State, StateFile, is_knob};
use dyno_base::error::{Error, Kind, Result};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Outcome of setting one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Planned and not done, since only the plan was asked for.
    Planned,
    Done,
    /// Set back, though someone else had set this meanwhile.
    DoneOver(String),
    /// It had its value already.
    AsItWas,
    /// The kernel decides on it itself, or the device is gone; no failure.
    Left(&'static str),
    Failed(String),
}

/// One file that was, or would be, set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub knob: String,
    pub path: String,
    pub was: String,
    pub to: String,
    pub outcome: Outcome,
}

/// Outcome of tuning or untuning, in the order in which it was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TuneReport {
    pub rows: Vec<Row>,
    /// Notes beside the rows.
    pub notes: Vec<String>,
}

impl TuneReport {
    pub fn failed(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Failed(_))).count()
    }

    /// The table, one file a line.
    pub fn text(&self) -> String {
        let widest_of = |column: fn(&Row) -> &str| {
            self.rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0)
        };
        let (knob, path) = (widest_of(|r| &r.knob), widest_of(|r| &r.path));
        let (was, to) = (widest_of(|r| &r.was), widest_of(|r| &r.to));
        let mut text = String::new();
        for row in &self.rows {
            let outcome = match &row.outcome {
                Outcome::Planned => String::new(),
                Outcome::Done => "done".into(),
                Outcome::DoneOver(now) => format!("done; someone else had set it to {now}"),
                Outcome::AsItWas => "is so already".into(),
                Outcome::Left(why) => format!("left: {why}"),
                Outcome::Failed(why) => format!("FAILED: {why}"),
            };
            let line = format!(
                "{:<knob$}  {:<path$}  {:>was$} -> {:<to$}  {outcome}",
                row.knob, row.path, row.was, row.to
            );
            writeln!(text, "{}", dyno_base::text::plain(line.trim_end()))
                .expect("a string takes all");
        }
        text
    }
}

/// What `tune` would set, with the values as they are.
pub fn plan_changes(machine: &dyn Machine, findings: &[Finding], options: TuneOptions) -> Vec<Row> {
    let is_wanted = |finding: &&Finding| match finding.option {
        None => true,
        Some("--perf") => options.perf,
        Some("--smt-off") => options.smt_off,
        Some(_) => false,
    };
    let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Bad);
    let mut rows: Vec<Row> = bad
        .filter(is_wanted)
        .flat_map(|finding| finding.changes.iter().map(move |change| (finding.knob, change)))
        .map(|(knob, Change { path, to })| Row {
            knob: knob.into(),
            path: path.clone(),
            was: read_value(machine, path).unwrap_or_default(),
            to: to.clone(),
            outcome: Outcome::Planned,
        })
        .collect();
    // A core's other knobs vanish with it.
    rows.sort_by_key(|row| takes_core(&row.path));
    rows
}

/// Whether `path` switches a core on and off.
fn takes_core(path: &str) -> bool {
    path.ends_with("/online")
}

fn read_value(machine: &dyn Machine, path: &str) -> Option<String> {
    machine.read(path).text().map(|text| value(text).to_string())
}

fn boot_id(machine: &dyn Machine) -> String {
    machine.read(BOOT_ID).text().unwrap_or_default().to_string()
}

/// Sets what is planned.
///
/// # Errors
/// Without privilege, if the state file is damaged or cannot be written; then nothing was changed.
pub fn tune(machine: &dyn Machine, file: &StateFile, plan_changes: Vec<Row>) -> Result<TuneReport> {
    if !machine.privileged() {
        return Err(unprivileged("tune"));
    }
    let mut report = TuneReport::default();
    let boot = boot_id(machine);
    let mut state = match file.load()? {
        Some(state) if state.boot_id == boot => state,
        Some(_) => {
            report.notes.push("the state file was of an earlier boot and is replaced".into());
            State::new(&boot, Vec::new())
        }
        None => State::new(&boot, Vec::new()),
    };
    if plan_changes.is_empty() {
        return Ok(report);
    }
    for row in &plan_changes {
        debug_assert!(is_knob(&row.path), "untune would refuse {}", row.path);
        match state.entries.iter_mut().find(|entry| entry.path == row.path) {
            // The first former value is the one to go back to.
            Some(entry) => entry.set.clone_from(&row.to),
            None => state.entries.push(Entry {
                knob: row.knob.clone(),
                path: row.path.clone(),
                former: row.was.clone(),
                set: row.to.clone(),
            }),
        }
    }
    file.save(&state)?;
    report.rows = plan_changes
        .into_iter()
        .map(|row| {
            let outcome = match set(machine, &row.path, &row.to) {
                Ok(()) => Outcome::Done,
                Err(failure) => failure.outcome(&row.path),
            };
            Row { outcome, ..row }
        })
        .collect();
    Ok(report)
}

/// Sets every knob of the state file back, or says with `dry` what it would do. The file goes once
/// all is as it was; what could not be set back stays in it.
///
/// # Errors
/// Without privilege, or if the state file is damaged; then nothing was changed.
pub fn untune(machine: &dyn Machine, file: &StateFile, dry: bool) -> Result<TuneReport> {
    let mut report = TuneReport::default();
    let Some(state) = file.load()? else {
        report.notes.push(format!("nothing to set back: there is no {}", file.path().display()));
        return Ok(report);
    };
    let rebooted = state.boot_id != boot_id(machine);
    if !dry && !machine.privileged() {
        return Err(unprivileged("untune"));
    }
    if rebooted {
        report
            .notes
            .push("the machine has been started anew since: its knobs are as it set them".into());
    }
    if dry || rebooted {
        let plan_row = |entry| restore_row(machine, entry, |_, _| Outcome::Planned);
        report.rows = undo_order(&state).filter(|_| !rebooted).map(plan_row).collect();
        return if dry { Ok(report) } else { file.remove().map(|()| report) };
    }
    let mut remaining = Vec::new();
    for entry in undo_order(&state) {
        let row = restore_row(machine, entry, |machine, now| {
            match set(machine, &entry.path, &entry.former) {
                Ok(()) if same(&entry.path, now, &entry.set) => Outcome::Done,
                Ok(()) => Outcome::DoneOver(now.to_string()),
                Err(failure) => failure.outcome(&entry.path),
            }
        });
        if matches!(row.outcome, Outcome::Failed(_)) {
            remaining.push(entry.clone());
        }
        report.rows.push(row);
    }
    if remaining.is_empty() {
        file.remove()?;
    } else {
        remaining.reverse();
        file.save(&State::new(&state.boot_id, remaining))?;
    }
    Ok(report)
}

/// Entries in the order of setting back: cores first, then the last that was set.
fn undo_order(state: &State) -> impl Iterator<Item = &Entry> {
    let mut entries: Vec<&Entry> = state.entries.iter().rev().collect();
    entries.sort_by_key(|entry| !takes_core(&entry.path));
    entries.into_iter()
}

/// The row of `entry`; `act` is asked only if its value is not the former one, and gets the value.
fn restore_row(
    machine: &dyn Machine,
    entry: &Entry,
    act: impl FnOnce(&dyn Machine, &str) -> Outcome,
) -> Row {
    let (was, outcome) = match machine.read(&entry.path) {
        FileState::Text(text) if same(&entry.path, &text, &entry.former) => {
            (value(&text).to_string(), Outcome::AsItWas)
        }
        FileState::Text(text) => (value(&text).to_string(), act(machine, value(&text))),
        FileState::Absent if entry.path.starts_with("/proc/irq/") => {
            (String::new(), Outcome::Left("the device is gone"))
        }
        FileState::Absent => (String::new(), Outcome::Failed("it is not there any more".into())),
        FileState::Unreadable(why) => (String::new(), Outcome::Failed(why)),
    };
    let (knob, path, to) = (entry.knob.clone(), entry.path.clone(), entry.former.clone());
    Row { knob, path, was, to, outcome }
}

/// Why a value was not taken.
enum Failure {
    Refused(std::io::Error),
    /// Taken without a word, but another one is read back.
    Otherwise(String),
}

impl Failure {
    fn outcome(&self, path: &str) -> Outcome {
        // Linux answers EIO, later EPERM, for interrupts whose affinity it manages itself
        // (kernel/irq/proc.c), such as the queues of a disk that each core has for itself.
        let managed =
            |error: &std::io::Error| matches!(error.raw_os_error(), Some(libc::EIO | libc::EPERM));
        match self {
            Self::Refused(error) if path.starts_with("/proc/irq/") && managed(error) => {
                Outcome::Left("the kernel manages this interrupt")
            }
            Self::Refused(error) => Outcome::Failed(error.to_string()),
            Self::Otherwise(now) => Outcome::Failed(format!("it reads {now} afterwards")),
        }
    }
}

fn set(machine: &dyn Machine, path: &str, to: &str) -> Result<(), Failure> {
    machine.write(path, to).map_err(Failure::Refused)?;
    match machine.read(path) {
        FileState::Text(text) if same(path, &text, to) => Ok(()),
        FileState::Text(text) => Err(Failure::Otherwise(value(&text).to_string())),
        FileState::Absent => Err(Failure::Otherwise("nothing".into())),
        FileState::Unreadable(why) => Err(Failure::Otherwise(why)),
    }
}

fn unprivileged(command: &str) -> Error {
    Error::new(Kind::Host, format!("dyno host {command} needs root; nothing was changed"))
        .hint(format!("run it as root; `dyno host {command} --dry-run` says what it would do"))
}

/// Refuses `--smt-off` where `untune` could not undo it, or where it takes a core in use.
pub fn check_smt_off(
    machine: &dyn Machine,
    host: &Host,
    findings: &[Finding],
    options: TuneOptions,
) -> Result<()> {
    let smt = findings.iter().find(|f| f.option == Some("--smt-off"));
    if !options.smt_off || smt.is_none_or(|smt| smt.verdict != Verdict::Bad) {
        return Ok(());
    }
    // cpusets(7): the tasks of a cpuset of cgroup v1 lose a core that goes offline for good.
    if matches!(machine.read("/sys/fs/cgroup/cpuset/cpuset.cpus"), FileState::Text(_)) {
        return Err(Error::host(
            "--smt-off: the cpusets of cgroup v1 would lose the siblings for good; nothing was changed",
        )
        .hint("boot with nosmt, or with cgroup v2; the rest is set without --smt-off"));
    }
    let cores_taken = smt.iter().flat_map(|smt| &smt.changes).filter_map(|change| {
        change.path.split("/cpu").last()?.split('/').next()?.parse::<u32>().ok()
    });
    if let Cores::Explicit(housekeeping) = &host.housekeeping_cores {
        let housekeeping_taken = cores_taken.filter(|core| housekeeping.contains(core)).collect();
        if housekeeping_taken != std::collections::BTreeSet::new() {
            let cores = format_cores(&housekeeping_taken);
            let message = format!(
                "--smt-off would take housekeeping cores {cores} offline; nothing was changed"
            );
            return Err(Error::new(Kind::Host, message).hint(format!(
                "take {cores} out of housekeeping_cores in hosts/{}.toml",
                host.name
            )));
        }
    }
    Ok(())
}
