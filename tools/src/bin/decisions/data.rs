//! Measurements in which nothing differs, and comparisons made of them.
//!
//! A [`Cell`] is one benchmark of one compiler commit, measured night after night. Two neighbouring
//! nights stand for the two processes of a round: they are next to each other in time, and what
//! drifts over weeks drifts in the rounds too. An effect is multiplied into the candidate, so that
//! it is known what is there to be found.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

/// A random stream of its own for each purpose, whatever thread works on it.
pub fn random(seed: u64, purpose: &[u64]) -> Pcg64 {
    // FNV-1a over the words: streams must differ, nothing more.
    let fold = |hash: u64, word: &u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3);
    Pcg64::seed_from_u64(purpose.iter().fold(seed ^ 0xcbf2_9ce4_8422_2325, fold))
}

/// One benchmark of one commit: its times in nanoseconds, in the order of the nights.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    pub nights: Vec<i64>,
    /// A slow mode that an effect makes more frequent; elsewhere an effect multiplies.
    pub slow_mode: Option<SlowMode>,
}

/// Nights that are slower by a factor, a tenth of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowMode {
    pub slow: f64,
    /// Nights above it are slow ones.
    pub bound: i64,
}

impl SlowMode {
    /// The share of the other nights that become slow, three of nine: two fifths of all are slow then.
    const MADE_SLOW: f64 = 1.0 / 3.0;

    fn slowed(self, value: i64, random: &mut Pcg64) -> i64 {
        let is_made_slow = value <= self.bound && random.random_bool(Self::MADE_SLOW);
        if is_made_slow { (value as f64 * self.slow).round() as i64 } else { value }
    }
}

/// The cells of a file as described in docs/decisions.md.
///
/// # Errors
/// If the file cannot be read or lacks a column.
pub fn read(path: &Path) -> Result<Vec<Cell>, Box<dyn Error>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()?;
    let mut rows: Vec<(String, i64, i64)> = Vec::new();
    for batch in reader {
        decode(&batch?, &mut rows)?;
    }
    rows.sort();
    let cell = |rows: &[(String, i64, i64)]| Cell {
        nights: rows.iter().map(|(_, _, time_ns)| *time_ns).collect(),
        slow_mode: None,
    };
    Ok(rows.chunk_by(|a, b| a.0 == b.0).map(cell).collect())
}

fn decode(batch: &RecordBatch, rows: &mut Vec<(String, i64, i64)>) -> Result<(), Box<dyn Error>> {
    let column = |name: &str, kind: &DataType| {
        let array = batch.column_by_name(name).ok_or(format!("the file has no `{name}`"))?;
        Ok::<_, Box<dyn Error>>(cast(array, kind)?)
    };
    let names = ["kind", "variant", "commit", "bench"].map(|name| column(name, &DataType::Utf8));
    let [kind, variant, commit, bench] = names;
    let names = [kind?, variant?, commit?, bench?];
    let dates = column("run_date", &DataType::Int64)?;
    let times = column("time_secs", &DataType::Float64)?;
    for row in 0..batch.num_rows() {
        let name = names.each_ref().map(|array| array.as_string::<i32>().value(row));
        let date = dates.as_primitive::<Int64Type>().value(row);
        let time_ns = (times.as_primitive::<Float64Type>().value(row) * 1e9).round() as i64;
        if times.is_valid(row) && time_ns > 0 {
            rows.push((name.join("/"), date, time_ns));
        }
    }
    Ok(())
}

/// (baseline, candidate) of one round, in nanoseconds.
pub type Round = (i64, i64);

/// One series of a comparison, and what is known of it from before.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub rounds: Vec<Round>,
    /// The effect that is really there: 0.05 is five per cent more.
    pub truth: f64,
    /// The other nights of the cell as earlier runs, paired the same way.
    pub past: Vec<Vec<Round>>,
    /// The other nights of the cell as they are, before and after the stretch.
    pub other_nights: [Vec<i64>; 2],
    pub slow_mode: Option<SlowMode>,
}

/// Two neighbouring nights a round, the baseline first in every other one (ABBA).
fn pair(nights: &[i64], baseline_first: bool) -> Vec<Round> {
    let round = |(index, two): (usize, &[i64])| match (index % 2 == 0) == baseline_first {
        true => (two[0], two[1]),
        false => (two[1], two[0]),
    };
    nights.chunks_exact(2).enumerate().map(round).collect()
}

/// Where the rounds of a series lie among the nights of its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// One after the other, as a run measures them: a random stretch of nights.
    InAStretch,
    /// Rounds in order, at random places. Of 23 nights there are four stretches of 20: a series
    /// that is unlucky in one is so in every fourth comparison, and how many comparisons are
    /// without a discovery then depends on one or two series. Rounds at random places have no such
    /// few.
    Scattered,
}

/// A comparison of identical commits: of each cell with enough nights (or `most` of them, chosen at
/// random), `rounds` rounds, and the other nights as its past. A fifth of the series, chosen at
/// random, are marked with a `truth` of ±1, for [`with_effect`].
pub fn draw(
    cells: &[Cell],
    rounds: usize,
    most: usize,
    placed: Placement,
    random: &mut Pcg64,
) -> Vec<Series> {
    let mut enough: Vec<&Cell> =
        cells.iter().filter(|cell| cell.nights.len() >= 2 * rounds).collect();
    let chosen = most.min(enough.len());
    choose(&mut enough, chosen, random);
    let mut drawn: Vec<Series> = enough[..chosen]
        .iter()
        .map(|Cell { nights, slow_mode }| {
            let (taken, other_nights) = match placed {
                Placement::InAStretch => draw_stretch(nights, rounds, random),
                Placement::Scattered => draw_scattered(nights, rounds, random),
            };
            let mut paired = |nights: &[i64]| pair(nights, random.random());
            Series {
                slow_mode: *slow_mode,
                rounds: paired(&taken),
                truth: 0.0,
                past: other_nights.iter().flat_map(|o| o.chunks(2 * rounds)).map(paired).collect(),
                other_nights,
            }
        })
        .collect();
    let mut order: Vec<usize> = (0..drawn.len()).collect();
    let fifth = drawn.len() / 5;
    choose(&mut order, fifth, random);
    for index in &order[..fifth] {
        drawn[*index].truth = if random.random() { 1.0 } else { -1.0 };
    }
    drawn
}

/// Brings `wanted` of the values, chosen at random, to the front (Fisher and Yates).
fn choose<T>(values: &mut [T], wanted: usize, random: &mut Pcg64) {
    for place in 0..wanted {
        values.swap(place, random.random_range(place..values.len()));
    }
}

/// The nights taken, and those before and after.
fn draw_stretch(nights: &[i64], rounds: usize, random: &mut Pcg64) -> (Vec<i64>, [Vec<i64>; 2]) {
    let start = random.random_range(0..=nights.len() - 2 * rounds);
    let end = start + 2 * rounds;
    (nights[start..end].to_vec(), [nights[..start].to_vec(), nights[end..].to_vec()])
}

/// The nights taken, two neighbours a round, and those left.
fn draw_scattered(nights: &[i64], rounds: usize, random: &mut Pcg64) -> (Vec<i64>, [Vec<i64>; 2]) {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    let mut next = 0;
    // Each of the places still open (a round takes two nights and one place) is as likely.
    let (mut wanted, mut places) = (rounds, nights.len() - rounds);
    while next < nights.len() {
        if wanted > 0 && random.random_range(0..places) < wanted {
            taken.extend(&nights[next..next + 2]);
            (next, wanted) = (next + 2, wanted - 1);
        } else {
            left.push(nights[next]);
            next += 1;
        }
        places = places.saturating_sub(1);
    }
    (taken, [left, Vec::new()])
}

/// The rounds with an effect of the size `effect` in the series that are marked for one.
pub fn with_effect(drawn: &[Series], effect: f64) -> Vec<Series> {
    let multiplied = |series: &Series| {
        let truth = series.truth * effect;
        let candidate = |value: i64| (value as f64 * (1.0 + truth)).round() as i64;
        let rounds = series.rounds.iter().map(|(b, c)| (*b, candidate(*c))).collect();
        Series { rounds, truth, ..series.clone() }
    };
    let changed = |series: &Series| match series.slow_mode {
        Some(slow_mode) if effect != 0.0 && series.truth != 0.0 => {
            with_slow_mode(series, slow_mode)
        }
        _ => multiplied(series),
    };
    drawn.iter().map(changed).collect()
}

/// The rounds with more slow values on the side that `truth` says; their mean moves by 3/10 of the
/// distance.
fn with_slow_mode(series: &Series, slow_mode: SlowMode) -> Series {
    let words: Vec<u64> =
        series.rounds.iter().map(|(b, c)| (b ^ c.rotate_left(32)) as u64).collect();
    let mut random = random(1, &words);
    let round = |(b, c): &Round| match series.truth > 0.0 {
        true => (*b, slow_mode.slowed(*c, &mut random)),
        false => (slow_mode.slowed(*b, &mut random), *c),
    };
    let rounds = series.rounds.iter().map(round).collect();
    let truth = series.truth * (slow_mode.slow.ln() * 0.3).exp_m1();
    Series { rounds, truth, ..series.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::Shape;

    #[test]
    fn rounds_are_of_neighbouring_nights_and_the_rest_is_the_past() {
        // Each value is its night, so that neighbours differ by one.
        let cells = [23, 24, 41, 60]
            .map(|nights| Cell { nights: (1000..1000 + nights).collect(), slow_mode: None });
        let mut firsts = std::collections::BTreeSet::new();
        for (placed, rounds) in
            [(Placement::InAStretch, 3), (Placement::Scattered, 3), (Placement::Scattered, 20)]
        {
            for repetition in 0..50 {
                let drawn = draw(&cells, rounds, usize::MAX, placed, &mut random(1, &[repetition]));
                assert_eq!(drawn.len(), if rounds == 20 { 2 } else { 4 });
                for series in &drawn {
                    let days = |r: &Round| r.0.min(r.1);
                    assert_eq!(series.rounds.len(), rounds);
                    assert!(series.rounds.iter().all(|(b, c)| b.abs_diff(*c) == 1));
                    assert!(series.rounds.is_sorted_by_key(days));
                    let abba = |two: &[Round]| (two[0].0 < two[0].1) != (two[1].0 < two[1].1);
                    assert!(series.rounds.windows(2).all(abba), "{series:?}");
                    if placed == Placement::InAStretch {
                        assert!(series.rounds.windows(2).all(|w| days(&w[1]) == days(&w[0]) + 2));
                    }
                    firsts.insert((
                        placed == Placement::Scattered,
                        rounds,
                        days(&series.rounds[0]),
                    ));
                    let used: Vec<i64> = series.rounds.iter().flat_map(|r| [r.0, r.1]).collect();
                    let other: Vec<i64> = series.other_nights.concat();
                    assert!(other.iter().all(|night| !used.contains(night)));
                    assert!(series.past.iter().all(|run| run.len() <= rounds));
                    let past: usize = series.past.iter().map(Vec::len).sum();
                    assert!(past * 2 <= other.len() && past * 2 + 4 >= other.len(), "{series:?}");
                }
            }
        }
        assert!(firsts.len() > 60, "places are random: {firsts:?}");
    }

    #[test]
    fn a_fifth_has_the_effect_in_both_directions() {
        let cells = Shape::HeavyTails.generate(3, 100);
        let drawn = draw(&cells, 4, 100, Placement::InAStretch, &mut random(1, &[]));
        let series = with_effect(&drawn, 0.05);
        let marked: Vec<f64> = series.iter().map(|s| s.truth).filter(|t| *t != 0.0).collect();
        assert_eq!(marked.len(), 20);
        assert!(marked.iter().any(|t| *t > 0.0) && marked.iter().any(|t| *t < 0.0));
        for (before, after) in drawn.iter().zip(&series) {
            for ((b, c), (same, changed)) in before.rounds.iter().zip(&after.rounds) {
                assert_eq!(b, same);
                let ratio = *changed as f64 / *c as f64;
                assert!((ratio - 1.0 - after.truth).abs() < 1e-6, "{before:?} {after:?}");
            }
        }
    }

    #[test]
    fn a_file_gives_its_cells_in_the_order_of_the_nights() {
        use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
        use std::sync::Arc;
        let constant_column =
            |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; 4])) };
        let benches: ArrayRef = Arc::new(StringArray::from(vec!["b", "a", "b", "a"]));
        let dates: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![2, 1, 1, 2]));
        let times: ArrayRef = Arc::new(Float64Array::from(vec![0.2, 3.0, 0.1, 4.5]));
        let columns = [
            ("kind", constant_column("k")),
            ("variant", constant_column("v")),
            ("commit", constant_column("c")),
            ("bench", benches),
            ("run_date", dates),
            ("time_secs", times),
        ];
        let batch = RecordBatch::try_from_iter(columns.clone()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |batch: &RecordBatch| {
            let file = file.reopen().unwrap();
            file.set_len(0).unwrap();
            let mut writer =
                parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            writer.write(batch).unwrap();
            writer.close().unwrap();
        };
        write(&batch);
        let cell = |nights: &[i64]| Cell { nights: nights.to_vec(), slow_mode: None };
        let expected = [cell(&[3_000_000_000, 4_500_000_000]), cell(&[100_000_000, 200_000_000])];
        assert_eq!(read(file.path()).unwrap(), expected);
        write(&RecordBatch::try_from_iter(columns.into_iter().take(5)).unwrap());
        assert_eq!(read(file.path()).unwrap_err().to_string(), "the file has no `time_secs`");
    }
}
