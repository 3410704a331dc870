//! What a view knows, short enough to be read: every number and verdict, each raw and as text, one
//! line a thing. The sentences stand in the snapshots of Markdown and text.

use std::fmt::{Debug, Write as _};

use dyno_reports::View;
use dyno_reports::view::{
    AxisFold, AxisView, BuildView, CurveView, Effect, FailureView, NumberWithInterval, Provenance,
    Row, ScalingView, Value,
};

use crate::scenarios;

/// All facts of a view.
pub fn facts(view: &View) -> String {
    let mut out = String::new();
    let counts = &view.counts;
    let _ = writeln!(out, "{}, many hosts: {}", view.conclusion, view.many_hosts);
    for (name, tally) in [
        ("deciding", counts.deciding),
        ("not deciding", counts.not_deciding),
        ("informing", counts.informing),
        ("scalings", counts.scalings),
    ] {
        let _ = writeln!(
            out,
            "{name}: {} = {}▲ {}▼ {}= {}?",
            tally.series, tally.regressed, tally.improved, tally.unchanged, tally.inconclusive
        );
    }
    let _ = writeln!(out, "failures: {}, {:?}", counts.failures, counts.failing);
    for mean in &view.means {
        let effect = effect(Some(&mean.effect));
        let _ = writeln!(out, "mean {}@{} of {}: {effect}", mean.metric, mean.host, mean.cases);
    }
    for check in &view.selfchecks {
        let _ = writeln!(out, "self-check {}: {:?} {:?}", check.host, check.rate, check.check);
    }
    for (name, rows) in [
        ("regressed", &view.regressed),
        ("improved", &view.improved),
        ("inconclusive", &view.inconclusive),
        ("unchanged", &view.unchanged),
        ("not deciding", &view.not_deciding),
        ("informing", &view.informing),
    ] {
        if !rows.is_empty() {
            let _ = writeln!(out, "\n{name}");
        }
        rows.iter().for_each(|row| write_row(&mut out, row, &view.links.command));
    }
    let policy = &view.policy;
    let _ =
        writeln!(out, "\npolicy {}: q {}, confidence {}", policy.name, policy.q, policy.confidence);
    if !dyno_reports::markdown(view).contains("(the policy)") {
        for words in &policy.words {
            let _ = writeln!(out, "  {words}");
        }
    }
    view.failures.iter().for_each(|failure| write_failure(&mut out, failure));
    view.axes.iter().for_each(|axis| write_axis(&mut out, axis));
    view.scalings.iter().for_each(|scaling| write_scaling(&mut out, scaling));
    view.builds.iter().for_each(|build| write_build(&mut out, build));
    view.runs.iter().for_each(|run| write_run(&mut out, run));
    out
}

fn or_dash<T: Debug>(value: Option<T>) -> String {
    value.map_or("–".to_string(), |value| format!("{value:?}"))
}

fn effect(effect: Option<&Effect>) -> String {
    effect.map_or("–".to_string(), |e| {
        format!("{} {} = {:?} [{:?}, {:?}]", e.text, e.interval, e.fraction, e.low, e.high)
    })
}

fn known(known: Option<&NumberWithInterval>) -> String {
    known.map_or("–".to_string(), |k| {
        format!("{} {} = {:?} [{:?}, {:?}]", k.text, k.interval, k.estimate, k.low, k.high)
    })
}

fn value(value: Option<&Value>) -> String {
    value.map_or("–".to_string(), |v| {
        format!("{} = {:?}, {} = {}..{}", v.text, v.median, v.spread, v.min, v.max)
    })
}

fn write_row(out: &mut String, row: &Row, command: &str) {
    let key = row.key();
    assert_eq!(row.series, {
        let config = if key.config.is_empty() { "".into() } else { format!("[{}]", key.config) };
        format!("{}{config}/{}@{}", key.benchmark, key.metric, key.host)
    });
    assert_eq!(row.explain.replace('\'', ""), format!("{command} --explain {}", row.series));
    assert_eq!(row.sql, scenarios::sql(&key));
    let decides = if row.decides { "decides" } else { "does not decide" };
    let shown = if row.shown == row.verdict { "" } else { &format!(" ({})", row.shown) };
    let _ = writeln!(
        out,
        "{} {} {}{shown}: {}, {}, {:?}, {decides}, in {}",
        row.id, row.mark, row.verdict, row.case, row.series, row.tier, row.unit
    );
    let _ = writeln!(out, "  {}", value(row.baseline.as_ref()));
    let _ = writeln!(out, "  {}", value(row.candidate.as_ref()));
    let _ = writeln!(
        out,
        "  {}; δ {} = {:?}; q {} = {}, p {}",
        effect(row.effect.as_ref()),
        row.delta,
        row.delta_fraction,
        row.q_text,
        or_dash(row.q),
        or_dash(row.p)
    );
    let _ = writeln!(
        out,
        "  {} rounds, {} tainted, {} needed, {} more; {}",
        row.rounds,
        row.tainted,
        or_dash(row.rounds_needed),
        or_dash(row.rounds_more),
        row.why
    );
    for b in &row.beside {
        assert!(b.text.starts_with(&b.metric));
        let differs = if b.differs { ", differs" } else { "" };
        let _ = writeln!(out, "  beside {} {} {}: {}{differs}", b.id, b.mark, b.verdict, b.text);
    }
}

fn write_failure(out: &mut String, f: &FailureView) {
    let _ = writeln!(
        out,
        "\n{:?}: {} ({}, {}) on {}, {}, {}: {}; {} lines left out of the log\n{}",
        f.standing,
        f.case,
        or_dash(f.benchmark.as_ref()),
        or_dash(f.config.as_ref()),
        f.host,
        f.side,
        f.step,
        f.reason,
        f.log_lines_left_out,
        f.log.escape_debug()
    );
}

fn write_fold(out: &mut String, name: &str, fold: &AxisFold) {
    let tally = &fold.tally;
    let range = fold.range.as_ref().map(|r| format!("{} = {:?}..{:?}", r.text, r.low, r.high));
    let _ = writeln!(
        out,
        "{name} {}@{}, {} cases, {}▲ {}▼ {}= {}? of {}: {}; {}",
        fold.metric,
        fold.host,
        fold.cases,
        tally.regressed,
        tally.improved,
        tally.unchanged,
        tally.inconclusive,
        tally.series,
        effect(fold.mean.as_ref()),
        range.unwrap_or("–".to_string())
    );
}

fn write_axis(out: &mut String, axis: &AxisView) {
    let _ = writeln!(out, "\naxis {}", axis.axis);
    for value in &axis.values {
        let name = value.name.strip_prefix(&format!("{}=", axis.axis)).expect("axis=value");
        assert_eq!(value.sql, scenarios::fold_sql(&axis.axis, name));
        value.folds.iter().for_each(|fold| write_fold(out, &value.name, fold));
        for benchmark in &value.benchmarks {
            let name = format!("  {} {:?}", benchmark.benchmark, benchmark.rows);
            benchmark.folds.iter().for_each(|fold| write_fold(out, &name, fold));
        }
    }
}

fn write_scaling(out: &mut String, s: &ScalingView) {
    assert_eq!(s.sql, "SELECT * FROM scaling");
    let _ = writeln!(
        out,
        "\nscaling {} {} {}: {} ({}, {}) on {}, {} threads: {}; q {} = {}; {}. {}",
        s.id,
        s.mark,
        s.verdict,
        s.case,
        s.benchmark,
        s.config,
        s.host,
        or_dash(s.threads),
        effect(s.effect.as_ref()),
        s.q_text,
        or_dash(s.q),
        s.why,
        s.basis
    );
    write_curve(out, &s.baseline);
    write_curve(out, &s.candidate);
}

fn write_curve(out: &mut String, curve: &CurveView) {
    let _ = writeln!(
        out,
        "  {}, {} tainted, no fit: {}",
        curve.side,
        curve.tainted,
        or_dash(curve.no_fit.as_ref())
    );
    for p in &curve.points {
        let _ = writeln!(
            out,
            "    {} threads, {} rounds, {} = {:?}, S {}, E {}, {:?}",
            p.threads,
            p.rounds,
            p.time,
            p.time_ns,
            known(p.speedup.as_ref()),
            known(p.efficiency.as_ref()),
            p.instructions
        );
    }
    if let Some(law) = &curve.law {
        let _ = writeln!(out, "    σ {}; κ {}", known(Some(&law.sigma)), known(Some(&law.kappa)));
        let _ = writeln!(
            out,
            "    best {} = {}, residual {} = {:?}; Amdahl {}",
            law.best,
            or_dash(law.best_threads),
            law.residual,
            law.residual_fraction,
            law.amdahl
        );
        let _ = writeln!(out, "    {:?}", law.speedups);
    }
}

fn write_build(out: &mut String, b: &BuildView) {
    assert_eq!(b.sql, "SELECT * FROM pipelining");
    let _ = writeln!(
        out,
        "\nbuild {}: {} ({}, {}), {}, {}: {} units, {} jobs, {} cores, pipelining {}",
        b.id, b.case, b.benchmark, b.config, b.host, b.side, b.units, b.jobs, b.cores, b.pipelining
    );
    let _ = writeln!(
        out,
        "  wall {} = {}, overlap {} = {}, used {} = {:?}, gain {} {}",
        b.wall,
        b.wall_ns,
        b.overlap,
        b.overlap_ns,
        b.utilisation,
        b.utilisation_fraction,
        known(b.gain.as_ref()),
        or_dash(b.no_gain.as_ref())
    );
    let _ = writeln!(out, "  {} = {:?}", b.parts.text, b.parts.ns);
    let path = &b.path;
    let _ = writeln!(
        out,
        "  path {} = {}, waited {} = {}, {} = {:?}, {} left out",
        path.length,
        path.length_ns,
        path.waited,
        path.waited_ns,
        path.parts.text,
        path.parts.ns,
        path.left_out
    );
    for s in &path.steps {
        let texts = [&s.front, &s.codegen, &s.link, &s.other].map(String::as_str).join(" ");
        let _ = writeln!(
            out,
            "    {} {}, {}, {} = {}, {texts} = {:?}",
            s.unit, s.name, s.because, s.waited, s.waited_ns, s.parts_ns
        );
    }
    for unit in &b.drawn {
        assert!(unit.text.starts_with(&unit.name));
        let _ = writeln!(
            out,
            "  {} {}, step {}: {} = {} {:?}",
            unit.unit,
            unit.kind,
            or_dash(unit.step),
            unit.text,
            unit.start_ns,
            unit.parts_ns
        );
    }
    let running: Vec<_> =
        b.running.iter().map(|r| format!("{} {} {}", r.from_ns, r.units, r.cores)).collect();
    let _ = writeln!(out, "  running {}", running.join(", "));
}

fn write_run(out: &mut String, run: &Provenance) {
    let _ = writeln!(
        out,
        "\nrun {}: {} of {} {}, image {} {}, {}",
        run.job, run.target, run.suite, run.suite_digest, run.image, run.image_id, run.outcome
    );
    let _ = writeln!(
        out,
        "  {} rounds of {}, seed {}, dyno {}, engine {}",
        run.rounds,
        run.metrics.join(", "),
        run.seed,
        run.dyno_version,
        run.engine
    );
    let _ = writeln!(
        out,
        "  {} = {} to {} = {}, {}; measured {} = {:?}; {:?}",
        run.started,
        run.started_us,
        run.finished,
        run.finished_us,
        run.took,
        run.measured_share_text,
        run.measured_share,
        run.phases
    );
    for side in [&run.baseline, &run.candidate] {
        assert!(side.commit.starts_with(&side.commit_short));
        let _ = writeln!(
            out,
            "  {} {} {}, {}: {} {:?}",
            side.asked,
            side.commit,
            side.commit_short,
            side.build,
            or_dash(side.artifact.as_ref()),
            side.files
        );
    }
    let _ = writeln!(out, "  {} {} {:?}", run.host, run.fingerprint, run.machine);
}
