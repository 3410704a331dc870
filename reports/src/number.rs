//! Numbers as people read them, with no more digits than are known.
//!
//! How many digits an estimate carries follows from its interval by the rule of the Particle Data
//! Group (Review of Particle Physics, Introduction 5.3): two significant digits of the half-width
//! when they are below 35, else one. A value that was counted, and so has no interval, keeps
//! enough digits to be told from zero.

use dyno_model::metric::MetricUnit;

const MINUS: char = '\u{2212}';

/// Decimals that a value of this half-width supports; `None` for a half-width of zero.
fn decimals(half_width: f64) -> Option<usize> {
    if !half_width.is_finite() || half_width <= 0.0 {
        return None;
    }
    let exponent = half_width.log10().floor();
    let lead = half_width / 10f64.powf(exponent);
    let decimals = if lead < 3.55 { 1.0 - exponent } else { -exponent };
    Some(decimals.clamp(0.0, 4.0) as usize)
}

/// `number` with `decimals`, its thousands grouped, a real minus sign, and no sign on zero.
fn fixed(number: f64, decimals: usize) -> String {
    if number.is_nan() {
        return "unknown".to_string();
    }
    if number.is_infinite() {
        return if number > 0.0 { "∞".to_string() } else { format!("{MINUS}∞") };
    }
    let digits = format!("{:.decimals$}", number.abs());
    let negative = number < 0.0 && digits.bytes().any(|b| (b'1'..=b'9').contains(&b));
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits.as_str(), None),
    };
    let mut out = String::new();
    if negative {
        out.push(MINUS);
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A whole number, grouped: `1,234,567`.
pub fn count(number: u64) -> String {
    fixed(number as f64, 0)
}

/// A fraction as a signed percentage: `+4.2 %`.
fn signed_percent(fraction: f64, decimals: usize) -> String {
    let text = fixed(fraction * 100.0, decimals);
    let unsigned = text.starts_with(MINUS) || !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    let plus = if unsigned && text != "∞" { "" } else { "+" };
    format!("{plus}{text} %")
}

/// An effect and its interval, given as fractions: (`+4.2 %`, `[+3.1 %, +5.3 %]`). The interval
/// of a counted value is `exact`.
pub fn effect(effect: f64, low: f64, high: f64) -> (String, String) {
    match decimals((high - low) / 2.0 * 100.0) {
        Some(decimals) => {
            let [effect, low, high] = [effect, low, high].map(|f| signed_percent(f, decimals));
            (effect, format!("[{low}, {high}]"))
        }
        None if high > low => (signed_percent(effect, 0), "unbounded".to_string()),
        None => {
            let size = (effect * 100.0).abs();
            let decimals =
                if size == 0.0 { 0.0 } else { (1.0 - size.log10().floor()).clamp(2.0, 4.0) };
            (signed_percent(effect, decimals as usize), "exact".to_string())
        }
    }
}

/// A number and its interval, with as many digits as the interval supports: (`2.91`,
/// `[2.80, 3.02]`). Where it is a point, three significant digits.
pub fn number_with_interval(estimate: f64, low: f64, high: f64) -> (String, String) {
    let number = |x: f64, decimals: usize| fixed(x, decimals);
    with_interval(number, estimate, low, high)
}

/// A change and its interval as [`number_with_interval`] writes them, with signs.
pub fn signed_with_interval(estimate: f64, low: f64, high: f64) -> (String, String) {
    let number = |x: f64, decimals: usize| {
        let text = fixed(x, decimals);
        let plus = x > 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b));
        if plus { format!("+{text}") } else { text }
    };
    with_interval(number, estimate, low, high)
}

/// A fraction and its interval as [`number_with_interval`] writes them, in per cent: (`73 %`, `[70
/// %, 76 %]`).
pub fn percent_with_interval(estimate: f64, low: f64, high: f64) -> (String, String) {
    let number = |x: f64, decimals: usize| format!("{} %", fixed(x, decimals));
    with_interval(number, 100.0 * estimate, 100.0 * low, 100.0 * high)
}

fn with_interval(
    number: impl Fn(f64, usize) -> String,
    estimate: f64,
    low: f64,
    high: f64,
) -> (String, String) {
    let half_width = (high - low) / 2.0;
    if half_width.is_finite() && half_width > 0.0 {
        let exponent = half_width.log10().floor();
        let lead = half_width / 10f64.powf(exponent);
        let decimals = (if lead < 3.55 { 1.0 } else { 0.0 } - exponent).clamp(0.0, 6.0) as usize;
        let [low, high] = [low, high].map(|x| number(x, decimals));
        return (number(estimate, decimals), format!("[{low}, {high}]"));
    }
    let size = if estimate == 0.0 { 0.0 } else { estimate.abs().log10().floor() };
    let decimals = (2.0 - size).clamp(0.0, 6.0) as usize;
    let interval = if high > low { "unbounded" } else { "exact" };
    (number(estimate, decimals), interval.to_string())
}

/// A fraction in per cent with so many decimals: `73 %`.
pub fn percent_rounded(fraction: f64, decimals: usize) -> String {
    format!("{} %", fixed(100.0 * fraction, decimals))
}

/// `−9.1 % to +2.0 %`; one of them where they are the same.
pub fn range(low: &str, high: &str) -> String {
    if low == high { low.to_string() } else { format!("{low} to {high}") }
}

/// A fraction without sign and without trailing zeros: `1 %`, `0.2 %`.
pub fn percent(fraction: f64) -> String {
    let text = fixed(fraction * 100.0, 4);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

/// Degrees of freedom: `4`, `12.3`, `∞`.
pub fn freedom(df: f64) -> String {
    let rounded = (df * 10.0).round() / 10.0;
    fixed(rounded, usize::from(rounded.fract() != 0.0 && rounded < 100.0))
}

/// A q-value: `0.013`, `< 0.0001`.
pub fn probability(q: f64) -> String {
    if q < 0.0001 {
        return "< 0.0001".to_string();
    }
    if q >= 0.995 {
        return "1".to_string();
    }
    let decimals = (1.0 - q.log10().floor()) as usize;
    format!("{q:.decimals$}")
}

/// A value in its metric's base unit, in the unit that suits its size: `123.4 ms`, `1.2 MiB`,
/// `1,234,567`. `half_width` is that of its effect, as a fraction, where there is one: it takes
/// away digits that mean nothing, from four significant ones.
pub fn quantity(value: f64, unit: MetricUnit, half_width: Option<f64>) -> String {
    let (step, names): (f64, &[&str]) = match unit {
        MetricUnit::Count => {
            return fixed(value, usize::from(value.fract() != 0.0 && value.abs() < 1e6));
        }
        MetricUnit::Nanoseconds => (1000.0, &["ns", "µs", "ms", "s"]),
        MetricUnit::Bytes => (1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]),
    };
    let (mut scaled, mut name) = (value, 0);
    // 999.95 would round to 1000.0 of the smaller unit.
    while scaled.abs() >= step - 0.05 && name + 1 < names.len() {
        scaled /= step;
        name += 1;
    }
    let significant = (3.0 - scaled.abs().max(1.0).log10().floor()).max(0.0) as usize;
    let number_with_interval =
        half_width.and_then(|h| decimals(h * scaled.abs())).unwrap_or(significant);
    let decimals =
        if name == 0 && value.fract() == 0.0 { 0 } else { significant.min(number_with_interval) };
    format!("{} {}", fixed(scaled, decimals), names[name])
}

/// The order in which people sort names with numbers in them: `o2` before `o10`, `1.5` before `2`.
pub fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    if let (Ok(x), Ok(y)) = (a.parse::<f64>(), b.parse::<f64>()) {
        return x.total_cmp(&y).then_with(|| a.cmp(b));
    }
    // Runs of digits compare by size: a longer one is larger, once its zeros are gone.
    fn runs(text: &str) -> Vec<(bool, usize, &str)> {
        let is_digit = |c: char| c.is_ascii_digit();
        let mut runs = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let digits = is_digit(first);
            let end = rest.find(|c| is_digit(c) != digits).unwrap_or(rest.len());
            let run = &rest[..end];
            let number = if digits { run.trim_start_matches('0') } else { run };
            runs.push((!digits, if digits { number.len() } else { 0 }, number));
            rest = &rest[end..];
        }
        runs
    }
    runs(a).cmp(&runs(b)).then_with(|| a.cmp(b))
}

/// Seconds as `0.4 s`, `83 s`, `12 min 5 s`, `2 h 3 min`.
pub fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".to_string();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Microseconds since 1970 as `2026-11-20 13:46:54 UTC`.
pub fn utc(microseconds: i64) -> String {
    chrono::DateTime::from_timestamp_micros(microseconds)
        .map_or_else(|| "unknown".to_string(), |t| t.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_numbers_sort_as_people_sort_them() {
        for sorted in [
            &["o0", "o1", "o2", "o10", "o11"][..],
            &["-1", "0.5", "1", "1.5", "2", "10"],
            &["1", "2", "16", "fast", "slow"],
            &["a9b2", "a9b10", "a10b1", "b"],
        ] {
            let mut names = sorted.to_vec();
            names.reverse();
            names.sort_by(|a, b| natural_order(a, b));
            assert_eq!(names, sorted);
        }
    }

    #[test]
    fn effects_carry_what_their_interval_supports() {
        for (mean, low, high, expected) in [
            (0.042, 0.031, 0.053, "+4.2 % [+3.1 %, +5.3 %]"),
            (-0.2004, -0.2054, -0.1953, "−20.0 % [−20.5 %, −19.5 %]"),
            (0.00012, -0.0081, 0.0083, "0.0 % [−0.8 %, +0.8 %]"),
            (0.5, -0.1, 1.4, "+50 % [−10 %, +140 %]"),
            (0.01, 0.01, 0.01, "+1.00 % exact"),
            (0.0, 0.0, 0.0, "0 % exact"),
            (0.0000123, 0.0000123, 0.0000123, "+0.0012 % exact"),
            (12.5, 12.0, 13.0, "+1,250 % [+1,200 %, +1,300 %]"),
            (0.1, -1.0, f64::INFINITY, "+10 % unbounded"),
        ] {
            let (effect, interval) = effect(mean, low, high);
            assert_eq!(format!("{effect} {interval}"), expected);
        }
    }

    #[test]
    fn numbers_carry_what_their_interval_supports() {
        for (estimate, low, high, expected) in [
            (2.9134, 2.8, 3.02, "2.91 [2.80, 3.02]"),
            (0.03141, 0.0200, 0.0428, "0.031 [0.020, 0.043]"),
            (0.000_123_4, 0.0, 0.0004, "0.00012 [0.00000, 0.00040]"),
            (1.0, 1.0, 1.0, "1.00 exact"),
            (0.0, 0.0, 0.0, "0.00 exact"),
            (0.5, 0.0, f64::INFINITY, "0.500 unbounded"),
        ] {
            let (number, interval) = number_with_interval(estimate, low, high);
            assert_eq!(format!("{number} {interval}"), expected);
        }
        assert_eq!(
            percent_with_interval(0.731, 0.68, 0.78),
            ("73 %".into(), "[68 %, 78 %]".into())
        );
        assert_eq!(
            signed_with_interval(0.02, -0.01, 0.05),
            ("+0.020".into(), "[−0.010, +0.050]".into())
        );
        assert_eq!(range("−9 %", "+2 %"), "−9 % to +2 %");
    }

    #[test]
    fn quantities_choose_their_unit() {
        for (value, unit, half_width, expected) in [
            (123_400_000.0, MetricUnit::Nanoseconds, None, "123.4 ms"),
            (123_400_000.0, MetricUnit::Nanoseconds, Some(0.01), "123.4 ms"),
            (123_400_000.0, MetricUnit::Nanoseconds, Some(0.05), "123 ms"),
            (999_960.0, MetricUnit::Nanoseconds, None, "1.000 ms"),
            (1_000_000.0, MetricUnit::Nanoseconds, None, "1.000 ms"),
            (12.0, MetricUnit::Nanoseconds, None, "12 ns"),
            (0.0, MetricUnit::Nanoseconds, None, "0 ns"),
            (75e9, MetricUnit::Nanoseconds, None, "75.00 s"),
            (1_258_291.0, MetricUnit::Bytes, Some(0.03), "1.20 MiB"),
            (1_258_291.0, MetricUnit::Bytes, Some(0.05), "1.20 MiB"),
            (512.0, MetricUnit::Bytes, None, "512 B"),
            (1_234_567.0, MetricUnit::Count, None, "1,234,567"),
            (2.5, MetricUnit::Count, None, "2.5"),
        ] {
            assert_eq!(quantity(value, unit, half_width), expected);
        }
    }

    #[test]
    fn the_rest() {
        assert_eq!(
            ["0.01", "0.002", "0"].map(|f| percent(f.parse().unwrap())),
            ["1 %", "0.2 %", "0 %"]
        );
        assert_eq!(
            [0.0, 0.000123, 0.0132, 0.5, 1.0].map(probability),
            ["< 0.0001", "0.00012", "0.013", "0.50", "1"]
        );
        assert_eq!(
            [4.0, 12.34, 9.98, 1234.5, f64::INFINITY].map(freedom),
            ["4", "12.3", "10", "1,234", "∞"]
        );
        assert_eq!(
            [0.44, 83.2, 725.0, 7380.0].map(seconds),
            ["0.4 s", "83 s", "12 min 5 s", "2 h 3 min"]
        );
        assert_eq!(utc(1_795_182_414_000_000), "2026-11-20 13:46:54 UTC");
        assert_eq!(utc(i64::MAX), "unknown");
    }
}
