//! The parts that drawings share: places, paths and the ticks of an axis.

/// Round numbers from 0 to `max`, at most seven.
pub(crate) fn ticks(max: f64) -> Vec<f64> {
    let rough = max / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|s| s * power).into_iter().find(|s| *s >= rough);
    let step = step.unwrap_or(rough);
    (0..=6).map(|i| f64::from(i) * step).filter(|t| *t <= max * 1.000_001).collect()
}

pub(crate) fn trimmed(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

pub(crate) fn place(at: f64) -> String {
    format!("{at:.1}")
}

pub(crate) fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let step = |(index, (x, y)): (usize, (f64, f64))| {
        format!("{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' })
    };
    points.enumerate().map(step).collect()
}
