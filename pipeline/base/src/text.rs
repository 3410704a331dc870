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

/// `3 days ago`.
pub fn ago(seconds: u64) -> String {
    match seconds / 86_400 {
        0 if seconds < 60 => "just now".into(),
        0 | 1 => format!("{} ago", duration(seconds)),
        days => format!("{} ago", dyno_model::text::plural(days as usize, "day")),
    }
}

/// Rows of text in columns, two spaces apart; the columns in `right` end at one place. Each line ends
/// with a line end, and with no spaces before it.
pub fn columns(rows: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0)).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            match right.contains(&column) {
                true => line.push_str(&format!("{gap}{cell:>width$}")),
                false => line.push_str(&format!("{gap}{cell:width$}")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["case", "s"], ["größer", "1.5"], ["", "10.0"]];
        let rows = rows.map(|row| row.map(String::from).to_vec());
        assert_eq!(columns(&rows, &[1]), "case       s\ngrößer   1.5\n        10.0\n");
        assert_eq!(columns(&[], &[]), "");
    }

    #[test]
    fn what_was_is_so_long_ago() {
        assert_eq!([5, 120, 3 * 86_400].map(ago), ["just now", "2 min ago", "3 days ago"]);
    }
}
