//! Scaling cases of a real runtime: OCaml's parallel benchmarks on 1 to 24 cores, of one commit over
//! many nights (ocaml-bench/sandmark-nightly at e83a94c, MIT licence, © 2021 shubham). The file is
//! read where it lies, in a folder above; curves that are made up like it are tested always.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use dyno_model::catalog::policy;
use dyno_model::record::Side;
use dyno_model::stats::scaling::NoFit;
use dyno_model::verdict::{ScalingCase, ScalingSample, Verdict, scaling_cases};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Row;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

const FILE: &str = "shared/data/sandmark-scaling-turing.parquet";

/// Benchmark and config → times in nanoseconds by night.
type Nights = BTreeMap<(String, String, u32), Vec<i64>>;

fn file() -> Option<PathBuf> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    above.map(|folder| folder.join(FILE)).find(|path| path.is_file())
}

fn read(path: &Path) -> Nights {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let mut rows: Vec<((String, String, u32), String, i64)> = vec![];
    for row in reader.get_row_iter(None).unwrap() {
        let row: Row = row.unwrap();
        let fields: BTreeMap<&str, String> = row
            .get_column_iter()
            .map(|(name, field)| (name.as_str(), field.to_string().trim_matches('"').to_string()))
            .collect();
        let cores = fields["ncores"].parse().unwrap();
        let time_s: f64 = fields["time_secs"].parse().unwrap();
        let key = (fields["par_bench"].clone(), fields["variant"].clone(), cores);
        rows.push((key, fields["run_date"].clone(), (time_s * 1e9).round() as i64));
    }
    rows.sort();
    let mut nights = Nights::new();
    rows.into_iter().for_each(|(key, _, time)| nights.entry(key).or_default().push(time));
    nights
}

/// 13 benchmarks that the law describes, and three that take a step at eight cores.
fn made() -> Nights {
    let mut random = Pcg64Mcg::seed_from_u64(24);
    let mut nights = Nights::new();
    for bench in 0..16u32 {
        let (sigma, kappa) = (0.01 * f64::from(bench), 1e-4 * f64::from(bench % 3));
        for cores in [1, 2, 4, 8, 12, 16, 20, 24] {
            let n = f64::from(cores);
            let step = if bench >= 13 && cores >= 8 { 1.6 } else { 1.0 };
            let time = 1e10 * step * (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0)) / n;
            let night = |_| (time * (1.0 + 0.02 * (random.random::<f64>() - 0.5))) as i64;
            let key = (format!("made{bench:02}"), "5.00".to_string(), cores);
            nights.insert(key, (0..44).map(night).collect());
        }
    }
    nights
}

/// Two neighbouring nights are a round; `slower` of the largest number of cores is multiplied into
/// the candidate.
fn cases(nights: &Nights, slower: f64) -> Vec<ScalingCase> {
    let config =
        |variant: &str, cores| format!("variant={},threads={cores}", variant.replace(',', "_"));
    let named: Vec<(&str, String, u32, &Vec<i64>)> = nights
        .iter()
        .map(|((bench, variant, cores), times)| {
            (bench.as_str(), config(variant, cores), *cores, times)
        })
        .collect();
    let last = named.iter().map(|n| n.2).max().unwrap();
    let samples = named.iter().flat_map(|(benchmark, config, cores, times)| {
        let effect = if *cores == last { slower } else { 1.0 };
        times.iter().enumerate().map(move |(night, time)| {
            let side = Side::BOTH[night % 2];
            let value = if side == Side::Candidate { *time as f64 * effect } else { *time as f64 };
            ScalingSample {
                job: "turing",
                host: "turing",
                architecture: "x86_64",
                benchmark,
                config,
                metric: "wall",
                round: night as u32 / 2,
                side,
                value: value as i64,
                is_tainted: false,
            }
        })
    });
    let text = "[metric.wall]\nsmallest_effect = 0.01\ndecides = true\n";
    let policy = policy::parse("test", "policies/test.toml", text, &[]).unwrap();
    scaling_cases(samples, &BTreeSet::new(), &policy)
}

#[test]
fn made_up_curves() {
    check(&made(), "made up");
}

#[test]
fn real_curves() {
    match file() {
        Some(path) => check(&read(&path), "turing"),
        None => eprintln!("no {FILE} in any folder above: only made-up curves were tested"),
    }
}

fn check(nights: &Nights, source: &str) {
    let same = cases(nights, 1.0);
    let count = |cases: &[ScalingCase], verdict: &Verdict| {
        cases.iter().filter(|case| case.scaled.verdict == *verdict).count()
    };
    let fits = |case: &ScalingCase| {
        [&case.baseline, &case.candidate].map(|side| side.curve.as_ref().unwrap().universal.clone())
    };
    let mut fitted = 0;
    for case in &same {
        let name = &case.benchmark;
        for (fit, side) in fits(case).into_iter().zip([&case.baseline, &case.candidate]) {
            match fit {
                Ok(fit) => {
                    fitted += 1;
                    let range = 0.0..=1.0;
                    assert!(range.contains(&fit.sigma.estimate) && fit.kappa.estimate >= 0.0);
                    let best = fit.best.unwrap();
                    assert!(best.low <= best.threads && best.threads <= best.high, "{name}");
                    // The law is as near to the medians as its residual says.
                    let far = |p: &dyno_model::verdict::ScalingPoint| {
                        (fit.time(p.threads) / p.time_ns).ln().abs()
                    };
                    let worst = side.points.iter().map(far).fold(0.0, f64::max);
                    assert!(worst < 3.0 * fit.residual + 0.05, "{name}: {worst} {fit:?}");
                }
                Err(NoFit::Residual { residual, .. }) => assert!(residual > 0.07, "{name}"),
                Err(why) => panic!("{name}: {why}"),
            }
        }
    }
    assert_eq!(same.len(), 16, "{source}");
    assert_eq!(fitted, 2 * 13, "{source}");
    let sure = count(&same, &Verdict::Regressed) + count(&same, &Verdict::Improved);
    assert_eq!(sure, 0, "{source}: the same commit on both sides");
    // A tenth more at the largest number of cores is found in nearly every case, and never as less.
    let worse = cases(nights, 1.1);
    let found = count(&worse, &Verdict::Regressed);
    assert!(found >= 14, "{source}: {found}");
    assert_eq!(count(&worse, &Verdict::Improved), 0, "{source}");
}
