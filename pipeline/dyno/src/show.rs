//! Events for a person: bars on a terminal, plain lines elsewhere. Everything goes to standard
//! error, so that standard output is the answer alone.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource};

use clap::ValueEnum;
use dyno_base::error::{Error, Result, WithContext};
use dyno_base::event::{Event, Events, ProgressUnit, SecondsLeft};
use dyno_base::text::{duration, plain};
use dyno_reports::Terminal;

/// How often a line about progress is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Whether the table has colours.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Notices only.
    Quiet,
    Normal,
    /// What is done and why, too.
    Explanation,
    /// Every line of every build too.
    Verbose,
}

/// How wide explanations are, so that they can be read at ease.
const EXPLANATION_WIDTH: usize = 88;

/// The sink for standard error as it is.
pub fn events(detail: Detail) -> Events {
    if std::io::stderr().is_terminal() && [Detail::Normal, Detail::Explanation].contains(&detail) {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        bar.set_style(spinner_style());
        let state = Mutex::new(Bar { detail, bar, left: Arc::default() });
        Events::new(move |_, event| state.lock().expect("no panic while held").show(event))
    } else {
        let state = Mutex::new(Lines { detail, last: Instant::now(), started: Instant::now() });
        Events::new(move |_, event| state.lock().expect("no panic while held").show(event))
    }
}

fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix:>8}  {wide_msg}  {elapsed}")
        .expect("a constant template")
}

/// The line of what can be counted, at most `width` wide: what is not needed to see how far it is
/// goes first, the message and then the bar.
fn counter_style(unit: ProgressUnit, width: usize, left: &SharedLeft) -> ProgressStyle {
    let left = Arc::clone(left);
    let write_left = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let left = *left.lock().expect("no panic while held");
        let seconds = state.eta().as_secs();
        let left = left.unwrap_or((seconds, seconds));
        let _ = match width {
            0..60 => write!(out, "{} left", duration(left.1)),
            _ => out.write_str(&left_text(left)),
        };
    };
    let template = counter_template(unit, width);
    let style = ProgressStyle::with_template(&template).expect("one of a few templates");
    style.with_key("left", write_left).progress_chars("=> ")
}

fn counter_template(unit: ProgressUnit, width: usize) -> String {
    let count = match unit {
        ProgressUnit::Bytes => "{bytes} of {total_bytes}",
        ProgressUnit::Items => "{pos} of {len}",
        ProgressUnit::Processes => "{pos} of {len} processes",
    };
    let (bar, message) = match width {
        0..80 => ("", ""),
        80..100 => ("{bar:16} ", ""),
        _ => ("{bar:24} ", "  {wide_msg}"),
    };
    format!("{{spinner}} {{prefix:>8}}  {bar}{count}, {{left}}{message}")
}

/// `about 40 s left`, `40 s to 3 min left`.
fn left_text((least, most): SecondsLeft) -> String {
    match (duration(least), duration(most)) {
        (least, most) if least == most => format!("about {most} left"),
        (least, most) => format!("{least} to {most} left"),
    }
}

/// How wide the terminal of standard error is; a common width where it does not say.
fn progress_width() -> usize {
    width_of(libc::STDERR_FILENO).unwrap_or(80)
}

/// What the newest event said of how long it goes on.
type SharedLeft = Arc<Mutex<Option<SecondsLeft>>>;

struct Bar {
    detail: Detail,
    bar: ProgressBar,
    left: SharedLeft,
}

impl Bar {
    fn show(&mut self, event: Event) {
        match event {
            Event::Explanation { text, seconds } if self.detail == Detail::Explanation => {
                self.bar.println(format_explanation(&text, seconds));
            }
            Event::Explanation { .. } => {}
            Event::Begin { phase, what } => {
                self.bar.reset();
                self.bar.unset_length();
                self.bar.set_style(spinner_style());
                self.bar.set_prefix(phase.name());
                self.bar.set_message(plain(&what).into_owned());
                self.bar.enable_steady_tick(Duration::from_millis(125));
            }
            Event::Progress { done, total, unit, left, .. } => {
                *self.left.lock().expect("no panic while held") = left;
                if total > 0 && self.bar.length() != Some(total) {
                    self.bar.set_length(total);
                    self.bar.set_style(counter_style(unit, progress_width(), &self.left));
                }
                self.bar.set_position(done);
            }
            // A long build is seen to live.
            Event::Line { phase, text } => {
                self.bar.set_prefix(phase.name());
                self.bar.set_message(plain(&text).into_owned());
            }
            Event::End { phase, what } => {
                self.bar.disable_steady_tick();
                self.bar.println(format!("{:>10}  {}", phase.name(), plain(&what)));
                self.bar.set_message(String::new());
            }
            Event::Notice(text) => self.bar.println(format!("      note  {}", plain(&text))),
            Event::Finished => self.bar.finish_and_clear(),
        }
    }
}

/// A paragraph after an empty line, with the time that what it explains takes.
fn format_explanation(text: &str, seconds: Option<(u64, u64)>) -> String {
    let time = match seconds {
        Some((least, most)) if least == most => format!(" About {}.", duration(least)),
        Some((least, most)) => format!(" About {} to {}.", duration(least), duration(most)),
        None => String::new(),
    };
    let text = plain(text).into_owned() + &time;
    let widest = EXPLANATION_WIDTH.min(width_of(libc::STDERR_FILENO).unwrap_or(EXPLANATION_WIDTH));
    let (mut paragraph, mut width) = (String::new(), usize::MAX);
    for word in text.split_whitespace() {
        width = width.saturating_add(1 + word.chars().count());
        let space = if width > widest { "\n  " } else { " " };
        if width > widest {
            width = 2 + word.chars().count();
        }
        paragraph.push_str(space);
        paragraph.push_str(word);
    }
    paragraph
}

/// Writes a line to standard error. A reader that has gone away (`2>&1 | head`) is no reason to
/// stop, nor to panic as `eprintln!` does.
pub fn eprint_line(line: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes to standard output; a reader that has gone away (`| head`) is no error.
pub fn write_stdout<T: AsRef<[u8]> + ?Sized>(text: &T) -> Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context(|| "writing to standard output".into())
        }
        _ => Ok(()),
    }
}

/// Shows an error: the files with mistakes in place, then the message, then what to do.
pub fn report_error(error: &Error) {
    for mistakes in &error.mistakes {
        let source =
            NamedSource::new(plain(&mistakes.file), dyno_reports::escape::in_place(&mistakes.text));
        for mistake in &mistakes.list {
            let label = format!("expected {}", plain(&mistake.expected));
            let mut shown = MietteDiagnostic::new(plain(&mistake.message))
                .with_label(LabeledSpan::at(mistake.span.clone(), label));
            shown.help = mistake.hint.as_deref().map(|hint| plain(hint).into_owned());
            let report = miette::Report::new(shown).with_source_code(source.clone());
            let mut text = String::new();
            let theme =
                if is_colored() { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
            let handler = GraphicalReportHandler::new_themed(theme);
            if handler.render_report(&mut text, report.as_ref()).is_ok() {
                eprint_line(text.trim_end());
            }
        }
    }
    eprint_line(format_args!("error: {}", plain(&error.message)));
    if let Some(hint) = &error.hint {
        eprint_line(format_args!("hint: {}", plain(hint)));
    }
}

fn is_colored() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

struct Lines {
    detail: Detail,
    last: Instant,
    started: Instant,
}

impl Lines {
    fn show(&mut self, event: Event) {
        let quiet = self.detail == Detail::Quiet;
        match event {
            Event::Explanation { text, seconds } if self.detail == Detail::Explanation => {
                eprint_line(format_explanation(&text, seconds));
            }
            Event::Notice(text) => eprint_line(format_args!("note: {}", plain(&text))),
            Event::Begin { phase, what } if !quiet => {
                (self.started, self.last) = (Instant::now(), Instant::now());
                eprint_line(format_args!("{}: {} …", phase.name(), plain(&what)));
            }
            Event::End { phase, what } if !quiet => {
                eprint_line(format_args!("{}: {}", phase.name(), plain(&what)));
            }
            Event::Progress { phase, done, total, unit, left }
                if !quiet && self.last.elapsed() >= LINE_EVERY =>
            {
                self.last = Instant::now();
                eprint_line(format_args!(
                    "{}: {}",
                    phase.name(),
                    self.progress(done, total, unit, left)
                ));
            }
            Event::Line { phase, text } if self.detail == Detail::Verbose => {
                eprint_line(format_args!("{}: {}", phase.name(), plain(&text)));
            }
            Event::Line { phase, text } if !quiet && self.last.elapsed() >= LINE_EVERY => {
                self.last = Instant::now();
                eprint_line(format_args!("{}: {}", phase.name(), plain(&text).trim()));
            }
            _ => {}
        }
    }

    fn progress(
        &self,
        done: u64,
        total: u64,
        unit: ProgressUnit,
        left: Option<SecondsLeft>,
    ) -> String {
        let amount_text = |n: u64| match unit {
            ProgressUnit::Bytes => HumanBytes(n).to_string(),
            ProgressUnit::Items | ProgressUnit::Processes => n.to_string(),
        };
        let of_what = if unit == ProgressUnit::Processes { " processes" } else { "" };
        if total == 0 || done == 0 {
            return amount_text(done);
        }
        let left = left.unwrap_or_else(|| {
            let rest = total.saturating_sub(done) as f64 / done as f64;
            let seconds = (self.started.elapsed().as_secs_f64() * rest).round() as u64;
            (seconds, seconds)
        });
        let (done, total, left) = (amount_text(done), amount_text(total), left_text(left));
        format!("{done} of {total}{of_what}, {left}")
    }
}

/// Width and colours of standard output. Nothing is cut where it is no terminal; `COLUMNS` says
/// otherwise.
pub fn terminal(color: Color) -> Terminal {
    let is_terminal = std::io::stdout().is_terminal();
    let color = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none(),
    };
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let width = said.filter(|columns| *columns > 0);
    let width = width.or_else(|| terminal_width().filter(|_| is_terminal));
    let width = width.unwrap_or(Terminal::UNBOUNDED);
    Terminal { width, color }
}

pub fn terminal_width() -> Option<usize> {
    width_of(libc::STDOUT_FILENO)
}

/// How wide the terminal of a stream is; `None` where it is none.
fn width_of(stream: i32) -> Option<usize> {
    // SAFETY: fills a live struct.
    unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        let status = libc::ioctl(stream, libc::TIOCGWINSZ, &mut size);
        (status == 0 && size.ws_col > 0).then_some(size.ws_col.into())
    }
}

/// A value as JSON for a program, or its text for people.
pub fn print_as(json: bool, value: &impl serde::Serialize, text: &str) -> Result<()> {
    if !json {
        return write_stdout(text);
    }
    write_stdout(&format!(
        "{}\n",
        serde_json::to_string_pretty(value).expect("plain fields serialise")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not cut by itself fits, for long numbers too, and says of what it counts.
    #[test]
    fn a_line_of_progress_fits_the_terminal() {
        for unit in [ProgressUnit::Bytes, ProgressUnit::Items, ProgressUnit::Processes] {
            for width in [45, 59, 60, 80, 99, 100, 200] {
                let mut line = counter_template(unit, width);
                for (field, text) in [
                    ("{spinner}", "x"),
                    ("{prefix:>8}", "measured"),
                    ("{bar:16}", &"=".repeat(16)),
                    ("{bar:24}", &"=".repeat(24)),
                    ("{bytes}", "999 MiB"),
                    ("{total_bytes}", "999 MiB"),
                    ("{pos}", "999"),
                    ("{len}", "999"),
                    ("{left}", if width < 60 { "59 min left" } else { "40 s to 59 min left" }),
                    ("{wide_msg}", ""),
                ] {
                    line = line.replace(field, text);
                }
                assert!(!line.contains('{') && line.len() <= width, "{width}: {line:?}");
                let names_unit = unit != ProgressUnit::Processes || line.contains(" processes, ");
                assert!(line.contains(" of 999") && names_unit, "{line:?}");
            }
        }
    }

    /// What whoever measures knows of the time that is left is said, and not the share that is done.
    #[test]
    fn what_is_left_is_a_span() {
        let started = Instant::now() - Duration::from_secs(30);
        let lines = Lines { detail: Detail::Normal, last: started, started };
        let processes = ProgressUnit::Processes;
        for (left, expected) in [
            (Some((40, 40)), "10 of 40 processes, about 40 s left"),
            (Some((40, 300)), "10 of 40 processes, 40 s to 5 min left"),
            (None, "10 of 40 processes, about 90 s left"),
        ] {
            assert_eq!(lines.progress(10, 40, processes, left), expected);
        }
        assert_eq!(lines.progress(0, 40, processes, Some((40, 300))), "0");
        // A bar takes both templates, however narrow the terminal.
        for width in [0, 60, 100] {
            let left = SharedLeft::default();
            let bar = ProgressBar::hidden().with_style(counter_style(processes, width, &left));
            *left.lock().unwrap() = Some((40, 300));
            bar.set_position(1);
        }
    }
}
