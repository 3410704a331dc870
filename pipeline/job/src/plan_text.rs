//! The plan in words: a sentence for whoever waits, and a table for whoever asks by `--plan`.

use dyno_base::error::Result;
use dyno_base::text::{columns, duration, plain};
use dyno_model::plan::{Job, Plan};
use dyno_model::record::Side;
use dyno_model::text::plural;

use crate::clock::PhaseClock;
use crate::context::{Context, Estimate, JobHistory, JobRequest, SpanSeconds};
use crate::plan::{PreparedJob, plan_job};

/// The plan of a request, without carrying it out, and in words.
pub async fn plan_only(request: &JobRequest, ctx: &Context) -> Result<(Plan, String)> {
    let prepared = plan_job(request, ctx, &mut PhaseClock::new()).await?;
    let mut histories = Vec::new();
    for job in &prepared.plan.jobs {
        histories.push(history_of(&prepared, job, request, ctx).await);
    }
    let text = table(&prepared, &histories);
    Ok((prepared.plan, text))
}

/// What earlier runs tell of a job.
pub async fn history_of(
    prepared: &PreparedJob,
    job: &Job,
    request: &JobRequest,
    ctx: &Context,
) -> JobHistory {
    let (suite, cores) = (&prepared.suite.suite, prepared.cores.all_cores().len());
    ctx.history.look_up(job, suite, &request.policy, cores).await
}

/// A job in a sentence, with what it is expected to take.
pub fn sentence(prepared: &PreparedJob, job: &Job, history: &JobHistory) -> String {
    let cases = plural(job.cases.len(), "case");
    let mut text = format!("{}: {cases}, {} each; ", pair(prepared), rounds(job));
    match &history.estimate {
        Some(estimate) => {
            text.push_str(&format!("{} in rounds", span(estimate.rounds_s())));
            if let Some(counting_s) = estimate.counting_s() {
                text.push_str(&format!(", {} counting instructions", span(counting_s)));
            }
        }
        None => text.push_str("how long it takes is not known before it was measured here once"),
    }
    text
}

/// The plan as text for `--plan`.
fn table(prepared: &PreparedJob, histories: &[JobHistory]) -> String {
    let mut text = String::new();
    for (job, history) in prepared.plan.jobs.iter().zip(histories) {
        text.push_str(&format!("{}\njob {}\n\n", pair(prepared), job.id));
        text.push_str(&columns(&rows(job, history.estimate.as_ref()), &[2, 3, 4]));
        text.push('\n');
        for line in lines(prepared, job, history) {
            text.push_str(&format!("{line}\n"));
        }
    }
    for job in &prepared.plan.held {
        text.push_str(&format!(
            "{}\njob {job} is in the store already: nothing is left to measure (--again measures it \
             again)\n",
            pair(prepared)
        ));
    }
    if !prepared.left_out.is_empty() {
        text.push_str("\nLeft out:\n");
        let left_out = prepared.left_out.iter();
        let row = |(why, cases): (&String, &usize)| {
            vec![format!("  {}", plural(*cases, "case")), plain(why).into_owned()]
        };
        text.push_str(&columns(&left_out.map(row).collect::<Vec<_>>(), &[]));
    }
    text
}

/// `lua: 548.1.2 (0a1b2c3d4e5f) → 551.1.0 (f5e4d3c2b1a0) on local`.
fn pair(prepared: &PreparedJob) -> String {
    let [baseline, candidate] = Side::BOTH.map(|side| {
        let resolved = &prepared.resolved[&side];
        match resolved.commit.hex().starts_with(&resolved.asked) {
            true => resolved.commit.short().to_string(),
            false => format!("{} ({})", plain(&resolved.asked), resolved.commit.short()),
        }
    });
    format!("{}: {baseline} → {candidate} on {}", prepared.suite.suite.name, prepared.host.name)
}

fn rounds(job: &Job) -> String {
    let budget = job.inputs.budget;
    match (budget.rounds_min, budget.rounds_max) {
        (least, most) if least < most => format!("{least} to {most} rounds"),
        (_, most) => plural(most as usize, "round"),
    }
}

/// The cases with their seconds, and the sum where there are several.
fn rows(job: &Job, estimate: Option<&Estimate>) -> Vec<Vec<String>> {
    let budget = job.inputs.budget;
    let rounds = match (budget.rounds_min, budget.rounds_max) {
        (least, most) if least < most => format!("{least} to {most}"),
        (_, most) => most.to_string(),
    };
    let header = ["benchmark", "config", "rounds", "seconds in rounds", "seconds counting"];
    let mut rows = vec![header.map(String::from).to_vec()];
    let cells = |rounds_s: SpanSeconds, counting_s: Option<SpanSeconds>| {
        [seconds(rounds_s), counting_s.map_or_else(|| "–".into(), seconds)]
    };
    for (place, case) in job.cases.iter().enumerate() {
        let times = match estimate.and_then(|estimate| estimate.cases.get(place)) {
            Some(case) if case.is_guess => {
                cells(case.rounds_s, case.counting_s).map(|cell| format!("{cell} ?"))
            }
            Some(case) => cells(case.rounds_s, case.counting_s),
            None => ["?", "?"].map(String::from),
        };
        let names = [case.benchmark.clone(), case.config.to_string(), rounds.clone()];
        rows.push(names.into_iter().chain(times).collect());
    }
    if let Some(estimate) = estimate.filter(|_| job.cases.len() > 1) {
        let times = cells(estimate.rounds_s(), estimate.counting_s());
        let names = [format!("all {}", plural(job.cases.len(), "case")), String::new()];
        rows.push(names.into_iter().chain([String::new()]).chain(times).collect());
    }
    rows
}

/// What the table does not say.
fn lines(prepared: &PreparedJob, job: &Job, history: &JobHistory) -> Vec<String> {
    let limits =
        job.cases.iter().filter_map(|case| prepared.suite.suite.benchmark(&case.benchmark));
    let worst_s: u64 = limits.map(|b| job.inputs.budget.worst_case_s(b.limits.time_s)).sum();
    let Some(estimate) = &history.estimate else {
        return vec![
            "How long it takes is not known before it was measured here once.".into(),
            at_most(worst_s),
        ];
    };
    let mut lines = Vec::new();
    if let Some(before_s) = estimate.before_s {
        lines.push(format!("Getting ready took {} last time.", duration(before_s)));
    }
    let (least, most) = estimate.rounds_s();
    let (least_counting, most_counting) = estimate.counting_s().unwrap_or_default();
    let before_s = estimate.before_s.unwrap_or(0) as f64;
    let whole = (least + least_counting + before_s, most + most_counting + before_s);
    lines.push(format!("In all {}. {}", span(whole), at_most(worst_s)));
    if let guesses @ 1.. = estimate.cases.iter().filter(|case| case.is_guess).count() {
        lines.push(format!(
            "? of {} never measured here: by the suite's guess, or the mean of the others.",
            plural(guesses, "case")
        ));
    }
    if let (true, Some(_)) = (estimate.counting_is_guess, estimate.counting_s()) {
        lines.push(
            "Counting is a guess: it was not done here yet, and takes 20 to 50 times as long as the \
             program."
                .into(),
        );
    }
    lines
}

fn at_most(worst_s: u64) -> String {
    format!("Rounds end after {} at the very most, by the limits of the suite.", duration(worst_s))
}

/// `1.2 to 7.3`.
fn seconds((least, most): SpanSeconds) -> String {
    let number = |seconds: f64| match seconds < 10.0 {
        true => format!("{seconds:.1}"),
        false => format!("{seconds:.0}"),
    };
    match (number(least), number(most)) {
        (least, most) if least == most => least,
        (least, most) => format!("{least} to {most}"),
    }
}

/// `about 40 s`, `48 s to 56 s`.
fn span((least, most): SpanSeconds) -> String {
    match (duration(least.ceil() as u64), duration(most.ceil() as u64)) {
        (least, most) if least == most => format!("about {least}"),
        (least, most) => format!("{least} to {most}"),
    }
}
