//! What dyno reads of a process, beside what GNU time and perf say of the very same one.
//!
//! Each process is the case's own command line in the container of the rounds, under `perf stat`
//! and `time -v` inside it: one process, three opinions, so that no noise of the machine is between
//! them. What dyno reads contains the start of these programs, some milliseconds. The word of
//! `time` is taken on memory, that of perf on wall time (`time` has steps of 10 ms). Both programs
//! are this machine's; they come into the container with their own libraries and loader, so that it
//! does not matter what is in the image, and what they start sees nothing of these.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dyno_model::record::Side;
use dyno_model::stats::median;
use dyno_model::text::plural;
use dyno_probe::{End, Exit, Spawn};
use serde::Serialize;

use super::Bench;
use crate::replaceable::ReplaceableContainer;
use dyno_base::error::{Error, Kind, Result, WithContext};
use dyno_base::event::Phase;
use dyno_base::scratch::Scratch;
use dyno_build::builder::describe;
use dyno_engine::{Mount, Spec};
use dyno_host::quiet::QuietHost;

/// Folder of the programs in the container.
const TOOLS: &str = "/tools";

/// Share by which dyno and another may be apart.
const TOLERANCE: f64 = 0.03;

/// How far dyno and the others agree.
#[derive(Debug, Serialize)]
pub struct Parity {
    pub rounds: u32,
    pub tolerance: f64,
    pub rows: Vec<Row>,
}

/// One metric of one case.
#[derive(Debug, Serialize)]
pub struct Row {
    pub case: String,
    pub metric: &'static str,
    /// Medians, in ns or bytes.
    pub dyno: f64,
    pub other: f64,
    /// The tool whose word `other` is.
    pub tool: &'static str,
    /// Ratio of the process where they are furthest apart, `dyno / other`.
    pub ratio: f64,
}

impl Row {
    pub fn agrees(&self) -> bool {
        (self.ratio - 1.0).abs() <= TOLERANCE
    }
}

impl Parity {
    pub fn agrees(&self) -> bool {
        self.rows.iter().all(Row::agrees)
    }
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| case | metric | dyno | other | says | dyno / other, at worst |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let shown = |value: f64| match row.metric {
                "wall" => format!("{:.1} ms", value / 1e6),
                _ => format!("{:.1} MiB", value / f64::from(1 << 20)),
            };
            let apart = if row.agrees() { "" } else { ", **apart**" };
            let (dyno, other) = (shown(row.dyno), shown(row.other));
            let Row { case, metric, tool, ratio, .. } = row;
            writeln!(f, "| {case} | {metric} | {dyno} | {other} | {tool} | {ratio:.4}{apart} |")?;
        }
        let apart = self.rows.iter().filter(|row| !row.agrees()).count();
        write!(
            f,
            "\nmedians of {} processes; {} of {} within {:.0} % in each",
            self.rounds,
            self.rows.len() - apart,
            self.rows.len(),
            self.tolerance * 100.0
        )
    }
}

/// A program around a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    Time,
    Perf,
}

impl Tool {
    const fn program(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Perf => "perf",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Time => "time -v",
            Self::Perf => "perf stat",
        }
    }

    /// The words before a command line.
    fn words(self) -> Vec<String> {
        let program = format!("{TOOLS}/{}", self.program());
        let words: &[&str] = match self {
            Self::Time => &["-v"],
            // Which event is all the same, as long as it takes no privilege: the time is told
            // anyhow.
            Self::Perf => &["stat", "-e", "duration_time"],
        };
        let loader = format!("{TOOLS}/loader");
        let libraries = format!("{TOOLS}/lib");
        let before = [loader.as_str(), "--library-path", &libraries, &program];
        before.iter().chain(words).map(ToString::to_string).collect()
    }

    /// Value in `output`, which the tool wrote, in ns or bytes.
    fn parse(self, output: &str) -> Option<i64> {
        match self {
            Self::Time => {
                let line =
                    output.lines().rev().find(|l| l.contains("Maximum resident set size"))?;
                let kib: i64 = line.rsplit_once(": ")?.1.trim().parse().ok()?;
                Some(kib << 10)
            }
            Self::Perf => {
                let line = output.lines().rev().find(|l| l.contains("seconds time elapsed"))?;
                let seconds: f64 = line.split_whitespace().next()?.parse().ok()?;
                Some((seconds * 1e9) as i64)
            }
        }
    }
}

/// The tools that this machine has, in a folder with all they need.
fn collect_tools(scratch: &Scratch) -> Result<(PathBuf, Vec<Tool>)> {
    let folder = scratch.folder("tools")?;
    let libraries = folder.join("lib");
    let copy = |from: &Path, to: PathBuf| {
        fs::copy(from, &to).map(drop).context(|| format!("copying {}", from.display()))
    };
    fs::create_dir(&libraries).context(|| format!("making {}", libraries.display()))?;
    let mut tools = Vec::new();
    for tool in [Tool::Perf, Tool::Time] {
        let Some(program) = find_program(tool.program()) else { continue };
        copy(&program, folder.join(tool.program()))?;
        let output = Command::new("ldd").arg(&program).output();
        let output =
            output.context(|| format!("asking ldd for the libraries of {}", tool.program()))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(Error::host(format!("ldd: {}: {}", program.display(), why.trim()))
                .hint("a script, as some distributions have it, cannot go into a container"));
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the loader without an
            // arrow.
            let path = |text: &str| PathBuf::from(text.split(" (").next().unwrap_or(text).trim());
            match line.split_once("=>") {
                Some((name, at)) => copy(&path(at), libraries.join(name.trim()))?,
                None if line.trim().starts_with('/') => {
                    copy(&path(line), folder.join("loader"))?;
                }
                None => {}
            }
        }
        tools.push(tool);
    }
    if tools.is_empty() {
        return Err(Error::host("neither GNU time nor perf is installed on this machine")
            .hint("Debian's packages are called time and linux-perf"));
    }
    Ok((folder, tools))
}

fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

impl Bench<'_> {
    /// Measures every case of the baseline in as many rounds as the job has at most, under the
    /// tools.
    ///
    /// # Errors
    /// A case that does not work, and a machine that has none of the tools.
    pub async fn parity(&self, quiet: &mut QuietHost, scratch: &Scratch) -> Result<Parity> {
        let (folder, tools) = collect_tools(scratch)?;
        let prepared = self.prepare()?;
        if prepared.is_empty() {
            return Err(Error::input(
                "none of the cases can be measured: there is nothing to compare",
            ));
        }
        let rounds = self.job.inputs.budget.rounds_max;
        let mut spec =
            Spec { cgroup: quiet.parent().map(String::from), ..self.counting_spec(Side::Baseline) };
        spec.mounts.push(Mount::read_only(&folder, TOOLS));
        spec.pids += tools.len() as u64;
        let verify = || quiet.verify();
        let mut container =
            ReplaceableContainer::start(&self.engines, spec, &verify, &self.events).await?;
        let names: Vec<&str> = tools.iter().map(|tool| tool.name()).collect();
        let what = format!(
            "{}, {} under {}",
            plural(prepared.len(), "case"),
            plural(rounds as usize, "round"),
            names.join(", ")
        );
        self.events.begin(Phase::Measure, what);
        let total = prepared.len() as u64 * u64::from(rounds + 1);
        let mut completed = 0;
        let mut exits: Vec<Vec<Exit>> = prepared.iter().map(|_| Vec::new()).collect();
        let measuring = async {
            for round in 0..=rounds {
                for (prepared_case, exits) in prepared.iter().zip(&mut exits) {
                    let words = tools.iter().flat_map(|tool| tool.words());
                    let argv = words.chain(prepared_case.spawn.argv.clone()).collect();
                    let outcome = container
                        .run(
                            &Spawn { argv, repeat: 1, ..prepared_case.spawn.clone() },
                            prepared_case.place,
                        )
                        .await?;
                    let case_error = |how: String| {
                        Error::new(Kind::Case, format!("{} {how}", prepared_case.case))
                    };
                    let exit = outcome.exit.map_err(case_error)?;
                    if exit.end != End::Code(prepared_case.exit_code) {
                        let how = describe(&exit.end, prepared_case.time_s);
                        return Err(case_error(format!("{how}: {}", exit.stderr_tail.trim())));
                    }
                    // The first warms up.
                    if round > 0 {
                        exits.push(exit);
                    }
                    completed += 1;
                    self.events.processes(completed, total, None);
                }
            }
            Ok(())
        };
        let measured: Result<()> = measuring.await;
        container.remove().await;
        measured?;
        let mut rows = Vec::new();
        for (prepared_case, exits) in prepared.iter().zip(&exits) {
            for tool in &tools {
                rows.push(compare_tool(prepared_case.case.to_string(), *tool, exits)?);
            }
        }
        Ok(Parity { rounds, tolerance: TOLERANCE, rows })
    }
}

/// Compares what a tool said of the processes of a case with what dyno read.
fn compare_tool(case: String, tool: Tool, exits: &[Exit]) -> Result<Row> {
    let (metric, read_dyno): (_, fn(&Exit) -> u64) = match tool {
        Tool::Time => ("max-rss", |exit| exit.max_rss_bytes),
        Tool::Perf => ("wall", |exit| exit.wall_ns),
    };
    let (mut ours, mut theirs, mut ratio) = (Vec::new(), Vec::new(), 1.0_f64);
    for exit in exits {
        let stderr = exit.stderr_tail.as_str();
        let other = tool.parse(stderr).ok_or_else(|| {
            Error::host(format!("{} says nothing of {case}: {stderr}", tool.name()))
        })?;
        let own = read_dyno(exit) as i64;
        let this_ratio = own as f64 / other as f64;
        if (this_ratio - 1.0).abs() > (ratio - 1.0).abs() {
            ratio = this_ratio;
        }
        ours.push(own);
        theirs.push(other);
    }
    let [dyno, other] =
        [ours, theirs].map(|mut values| median(&mut values).expect("two rounds at least"));
    Ok(Row { case, metric, dyno, other, tool: tool.name(), ratio })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tools_say() {
        let time = "warning: x\n\tCommand being timed: \"sleep 0.3\"\n\tElapsed (wall clock) time \
                    (h:mm:ss or m:ss): 0:00.30\n\tMaximum resident set size (kbytes): 1520\n";
        assert_eq!(Tool::Time.parse(time), Some(1520 * 1024));
        let perf = "\n Performance counter stats for 'sleep 0.3':\n\n   <not supported> ns   \
                    duration_time\n\n       0.304317824 seconds time elapsed\n";
        assert_eq!(Tool::Perf.parse(perf), Some(304_317_824));
        assert_eq!(Tool::Perf.parse("Error:\nNo permission to enable duration_time event."), None);
    }

    #[test]
    fn the_worst_process_decides() {
        let exit = |wall_ns: u64, stderr: &str| {
            let stderr_tail = format!(" {stderr} seconds time elapsed");
            Exit { wall_ns, stderr_tail, ..dyno_probe::Exit::without_effect() }
        };
        let (good, bad) = (exit(1_020_000_000, "1.000"), exit(960_000_000, "1.000"));
        let compare = |exits: &[Exit]| compare_tool("a".into(), Tool::Perf, exits).unwrap();
        assert!(compare(&[good.clone(), good.clone()]).agrees());
        let worst = compare(&[good.clone(), bad, good.clone()]);
        assert_eq!((worst.dyno, worst.ratio), (1.02e9, 0.96));
        assert!(!worst.agrees());
        assert!(compare_tool("a".into(), Tool::Time, &[good]).is_err());
        let parity = Parity { rounds: 3, tolerance: TOLERANCE, rows: vec![worst] };
        let text = parity.to_string();
        assert!(text.contains("0.9600, **apart**") && text.contains("0 of 1 within 3 %"), "{text}");
        assert!(!parity.agrees());
    }
}
