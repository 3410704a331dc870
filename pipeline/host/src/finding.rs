//! What one knob of a machine is, what it should be, and how it is set.

use serde::Serialize;

use super::machine::FileState;

/// Whether a knob is as a quiet host has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Good,
    Bad,
    /// It cannot be read.
    Unknown,
    /// This kind of machine or kernel has no such knob.
    NotHere,
}

impl Verdict {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
            Self::NotHere => "-",
        }
    }
}

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub path: String,
    pub to: String,
}

impl Change {
    pub fn new(path: impl Into<String>, to: impl Into<String>) -> Self {
        Self { path: path.into(), to: to.into() }
    }
}

/// What one knob is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub knob: &'static str,
    pub now: String,
    pub wanted: String,
    pub verdict: Verdict,
    /// How it moves a measurement.
    pub why: &'static str,
    /// Sets it: commands for a root shell, or what else to do.
    pub command: Option<String>,
    /// Whether `dyno host tune` sets it.
    pub dyno_can: bool,
    /// The option without which `dyno host tune` leaves it.
    pub option: Option<&'static str>,
    #[serde(skip)]
    pub changes: Vec<Change>,
}

impl Finding {
    /// dyno sets it so; the commands do the same.
    pub fn settable_by(mut self, changes: Vec<Change>) -> Self {
        if !changes.is_empty() {
            self.command = Some(commands(&changes));
            self.dyno_can = true;
            self.changes = changes;
        }
        self
    }

    /// A person sets it so.
    pub fn settable_by_hand(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    pub fn requiring_option(mut self, option: &'static str) -> Self {
        self.option = self.dyno_can.then_some(option);
        self
    }
}

/// The shell commands that do `changes`, those that differ in one number together.
fn commands(changes: &[Change]) -> String {
    let mut groups: Vec<([&str; 3], Vec<&str>)> = Vec::new();
    for Change { path, to } in changes {
        let [before, number, after] = split_at_number(path);
        match groups.iter_mut().find(|(alike, _)| *alike == [before, after, to]) {
            Some((_, numbers)) => numbers.push(number),
            None => groups.push(([before, after, to], vec![number])),
        }
    }
    let command = |([before, after, to], numbers): &([&str; 3], Vec<&str>)| match &numbers[..] {
        [number] => format!("echo {to} > {before}{number}{after}"),
        numbers => {
            format!("for i in {}; do echo {to} > {before}$i{after}; done", numbers.join(" "))
        }
    };
    groups.iter().map(command).collect::<Vec<_>>().join("; ")
}

/// A path parted at its first number.
fn split_at_number(path: &str) -> [&str; 3] {
    let start = path.find(|c: char| c.is_ascii_digit()).unwrap_or(path.len());
    let (before, rest) = path.split_at(start);
    let (number, after) =
        rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    [before, number, after]
}

/// A knob that is about to be judged.
pub struct Knob {
    knob: &'static str,
    wanted: String,
    why: &'static str,
}

impl Knob {
    pub fn new(knob: &'static str, wanted: impl Into<String>, why: &'static str) -> Self {
        Self { knob, wanted: wanted.into(), why }
    }

    fn found(self, verdict: Verdict, now: impl Into<String>) -> Finding {
        Finding {
            knob: self.knob,
            now: now.into(),
            wanted: self.wanted,
            verdict,
            why: self.why,
            command: None,
            dyno_can: false,
            option: None,
            changes: Vec::new(),
        }
    }

    pub fn good(self, now: impl Into<String>) -> Finding {
        self.found(Verdict::Good, now)
    }

    pub fn bad(self, now: impl Into<String>) -> Finding {
        self.found(Verdict::Bad, now)
    }

    pub fn good_if(self, good: bool, now: impl Into<String>) -> Finding {
        self.found(if good { Verdict::Good } else { Verdict::Bad }, now)
    }

    pub fn unknown(self, reason: impl std::fmt::Display) -> Finding {
        self.found(Verdict::Unknown, format!("cannot be read: {reason}"))
    }

    pub fn not_here(self) -> Finding {
        self.found(Verdict::NotHere, "not on this machine")
    }

    /// Judges a knob of the hardware that is absent: a guest's is in the hands of the machine below
    /// it.
    pub fn absent(self, guest: bool) -> Finding {
        if guest { self.unknown("hidden by the hypervisor") } else { self.not_here() }
    }

    /// Judges the trimmed text of `path`, if there is one.
    pub fn judge(
        self,
        path: &str,
        seen: &FileState,
        judge: impl FnOnce(Self, &str) -> Finding,
    ) -> Finding {
        match seen {
            FileState::Text(text) => judge(self, text.trim()),
            FileState::Absent => self.not_here(),
            FileState::Unreadable(reason) => self.unknown(format_args!("{path}: {reason}")),
        }
    }

    /// The file `path` holds what nobody expects.
    pub fn odd(self, path: &str, text: &str) -> Finding {
        let shown: String = text.chars().take(40).collect();
        self.unknown(format_args!("{path} holds \"{}\"", shown.escape_debug()))
    }
}
