//! Text for a terminal.

/// Shows control characters of `text` instead of having a terminal obey them.
pub fn plain(text: &str) -> std::borrow::Cow<'_, str> {
    dyno_model::text::line(text)
}

/// `45 s`, `12 min`, `3 h 20 min`.
pub fn duration(seconds: u64) -> String {
    match seconds.div_ceil(60) {
        _ if seconds < 120 => format!("{seconds} s"),
        minutes if minutes < 120 => format!("{minutes} min"),
        minutes => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}
