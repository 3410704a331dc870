//! Adaptive sampling: which process runs next, and when enough is known.
//!
//! Every case first gets the least number of rounds, in passes over all cases in a new random
//! order each, so that slow drift spreads over all of them. From then on a pass goes over the cases
//! that are still open, the widest interval first (measured against what is asked of it), so that
//! where the machine's time ends, it was spent where most was unknown. A case is closed when the
//! half-width of the interval of each metric that steers it is below δ/2, or when its budget of
//! rounds or time is spent.
//!
//! It is the *precision* that stops a case, never its significance: looking at the verdict after
//! each round and stopping when it pleases would multiply false alarms. The interval here is that
//! of the run's own rounds (Student's t), whatever history and the peer prior lend later. Stopping
//! a mean of normal values on their variance leaves the mean unbiased (the two are independent);
//! what it costs in coverage is measured in docs/decisions.md.
//!
//! A round that something else on the machine disturbed comes again in a later pass, under the same
//! number: what disturbs is seen from outside, so leaving it out does not depend on the times
//! measured.
//!
//! Within a round baseline and candidate run next to each other; which goes first alternates from
//! round to round of a case (ABBA) from a random start, so that a linear drift within a pair
//! cancels out over each two rounds.

use std::collections::VecDeque;

use rand::{Rng, SeedableRng};
use serde::Serialize;

use crate::budget::Budget;
use crate::catalog::policy::{Decides, Policy};
use crate::catalog::suite::Case;
use crate::metric::{self, Sampling};
use crate::record::Side;
use crate::states::{PastStates, Shares, States};
use crate::stats::{log_effect, log_ratio_or_infinite, moments, t_quantile};

/// A metric that steers a case, and the half-width its interval must come below (log scale).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Target {
    pub metric: String,
    pub half_width: f64,
    /// The states that the series was in in past runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub past_states: Option<PastStates>,
}

/// What steers `case` on `host`: of the metrics measured in rounds, those that decide under
/// `policy`; where none does, those that would otherwise.
pub fn targets(case: &Case, host: &str, metrics: &[String], policy: &Policy) -> Vec<Target> {
    let deciding_by = |wanted: Decides| -> Vec<Target> {
        metrics
            .iter()
            .filter(|name| metric::find(name).is_some_and(|m| m.sampling == Sampling::Rounds))
            .map(|name| (name, policy.rule(&case.benchmark, &case.config, host, name)))
            .filter(|(_, rule)| rule.decides == wanted)
            .map(|(name, rule)| Target {
                metric: name.clone(),
                half_width: log_effect(rule.smallest_effect) / 2.0,
                past_states: None,
            })
            .collect()
    };
    let deciding = deciding_by(Decides::Yes);
    if deciding.is_empty() { deciding_by(Decides::Otherwise) } else { deciding }
}

/// One process to start: which case (index into the job's), which side, in which round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduledRun {
    pub case: usize,
    pub round: u32,
    pub side: Side,
}

impl ScheduledRun {
    /// Bytes by which the environment of a process is padded, below 4096: the same for both sides
    /// of a round, another in the next. The environment lies at the start of a process's stack, and
    /// its size alone can make one program look faster than another (Mytkowicz et al. 2009,
    /// "Producing wrong data without doing anything obviously wrong", ASPLOS): no verdict is to
    /// hang on one lucky layout.
    pub fn padding(&self, seed: u64) -> usize {
        let place = (self.case as u64) << 32 | u64::from(self.round);
        let mut random =
            rand_pcg::Pcg64::seed_from_u64(seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (random.random::<u64>() >> 52) as usize
    }
}

/// Why a case gets no more rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// Its intervals are as narrow as the policy asks.
    Precise,
    /// Nothing steers it: it has its least rounds.
    LeastRounds,
    OutOfRounds,
    OutOfTime,
    /// Its rounds were disturbed and repeated so often that it gets no more.
    Noisy,
    /// It failed.
    Failed,
}

struct CaseState {
    /// The side that goes first in even rounds.
    first: Side,
    targets: Vec<Target>,
    /// (Baseline, candidate) of each finished round, by target.
    pairs: Vec<Vec<(i64, i64)>>,
    rounds: u32,
    /// Rounds that were disturbed, and so are not among `rounds`.
    disturbed: u32,
    spent_ns: u64,
    closed: Option<StopReason>,
}

/// Says what runs next. Give it the result of each round before asking again.
pub struct Sampler {
    cases: Vec<CaseState>,
    budget: Budget,
    confidence: f64,
    random: rand_pcg::Pcg64,
    /// All cases, as last shuffled.
    order: Vec<usize>,
    /// Cases of the present pass that are still to run.
    pass: VecDeque<usize>,
    passes: u32,
}

impl Sampler {
    /// `targets` by case. The seed gives the order of the least rounds and who goes first.
    pub fn new(targets: Vec<Vec<Target>>, budget: Budget, confidence: f64, seed: u64) -> Self {
        let mut random = rand_pcg::Pcg64::seed_from_u64(seed);
        let case = |targets: Vec<Target>| CaseState {
            first: if random.random_bool(0.5) { Side::Baseline } else { Side::Candidate },
            pairs: vec![Vec::new(); targets.len()],
            targets,
            rounds: 0,
            disturbed: 0,
            spent_ns: 0,
            closed: None,
        };
        let cases: Vec<CaseState> = targets.into_iter().map(case).collect();
        let order = (0..cases.len()).collect();
        Self { cases, budget, confidence, random, order, pass: VecDeque::new(), passes: 0 }
    }

    /// The next round: its two processes, in order. `None` when every case is closed.
    pub fn next_round(&mut self) -> Option<[ScheduledRun; 2]> {
        loop {
            if let Some(case) = self.pass.pop_front() {
                let state = &self.cases[case];
                if state.closed.is_some() {
                    continue;
                }
                let round = state.rounds;
                let first = if round.is_multiple_of(2) { state.first } else { state.first.other() };
                return Some([first, first.other()].map(|side| ScheduledRun { case, round, side }));
            }
            self.begin_pass();
            if self.pass.is_empty() {
                return None;
            }
        }
    }

    /// A round of `case` is over: `spent_ns` went by inside its processes; `values` are its
    /// (baseline, candidate), in the order of the case's targets, `None` where a side is missing.
    pub fn finish_round(&mut self, case: usize, spent_ns: u64, values: &[Option<(i64, i64)>]) {
        let (budget, confidence) = (self.budget, self.confidence);
        let state = &mut self.cases[case];
        state.rounds += 1;
        state.spent_ns = state.spent_ns.saturating_add(spent_ns);
        for (pairs, pair) in state.pairs.iter_mut().zip(values) {
            pairs.extend(pair);
        }
        if state.closed.is_none() && state.rounds >= budget.rounds_min {
            state.closed = match state.width(confidence) {
                None => Some(StopReason::LeastRounds),
                Some(width) if width < 1.0 => Some(StopReason::Precise),
                Some(_) if state.rounds >= budget.rounds_max => Some(StopReason::OutOfRounds),
                Some(_) if state.spent_ns >= budget.seconds.saturating_mul(1_000_000_000) => {
                    Some(StopReason::OutOfTime)
                }
                Some(_) => None,
            };
        }
    }

    /// A round of `case` was disturbed: it counts for nothing, and the same round is to come again
    /// in a later pass, when the disturbance may have gone. A case is repeated at most as often as
    /// it may have rounds, and not beyond its seconds.
    pub fn repeat_round(&mut self, case: usize, spent_ns: u64) {
        let budget = self.budget;
        let state = &mut self.cases[case];
        state.disturbed += 1;
        state.spent_ns = state.spent_ns.saturating_add(spent_ns);
        let spent = state.spent_ns >= budget.seconds.saturating_mul(1_000_000_000);
        if state.closed.is_none() && (spent || state.disturbed >= budget.rounds_max) {
            state.closed = Some(StopReason::Noisy);
        }
    }

    /// A case that does not work gets no more rounds; nor does one of which one side alone works, as
    /// nothing can be said of it.
    pub fn fail(&mut self, case: usize) {
        self.cases[case].closed = Some(StopReason::Failed);
    }

    /// Why each case was closed, with its rounds; `None` for one that is open.
    pub fn stop_reasons(&self) -> impl Iterator<Item = (Option<StopReason>, u32)> {
        self.cases.iter().map(|state| (state.closed, state.rounds))
    }

    /// How many rounds of each case were disturbed.
    pub fn disturbed_rounds(&self) -> impl Iterator<Item = u32> {
        self.cases.iter().map(|state| state.disturbed)
    }

    /// Rounds that are done, and at most to come.
    pub fn progress(&self) -> (u64, u64) {
        let done: u64 = self.cases.iter().map(|s| u64::from(s.rounds)).sum();
        let runs_left = |s: &CaseState| match s.closed {
            Some(_) => 0,
            None => u64::from(self.budget.rounds_max.saturating_sub(s.rounds)),
        };
        (done, done + self.cases.iter().map(runs_left).sum::<u64>())
    }

    /// Nanoseconds inside processes that are still to come, with the least rounds and with the most,
    /// by what the rounds of each case took; `round_ns` is what one takes of a case that had none.
    /// As many rounds are disturbed as were so far.
    pub fn left_ns(&self, round_ns: &[f64]) -> (f64, f64) {
        let sum = |count: fn(&CaseState) -> u32| -> f64 {
            self.cases.iter().map(|state| f64::from(count(state))).sum()
        };
        let (rounds, disturbed) = (sum(|state| state.rounds), sum(|state| state.disturbed));
        let tries = (rounds + disturbed) / rounds.max(1.0);
        let open = self.cases.iter().zip(round_ns).filter(|(state, _)| state.closed.is_none());
        let lefts =
            open.map(|(state, round_ns)| state.left_ns(*round_ns, tries.max(1.0), self.budget));
        lefts.fold((0.0, 0.0), |sum, left| (sum.0 + left.0, sum.1 + left.1))
    }

    fn begin_pass(&mut self) {
        if self.passes < self.budget.rounds_min {
            // Fisher–Yates; written out because `rand` may change its shuffle between versions and
            // a stored seed must give the same order for ever.
            for i in (1..self.order.len()).rev() {
                self.order.swap(i, (self.random.random::<u64>() % (i as u64 + 1)) as usize);
            }
        } else {
            let width = |i: usize| self.cases[i].width(self.confidence).unwrap_or(f64::INFINITY);
            let widths: Vec<f64> = (0..self.cases.len()).map(width).collect();
            self.order.sort_by(|&a, &b| widths[b].total_cmp(&widths[a]));
        }
        self.passes += 1;
        let is_open = |i: &usize| self.cases[*i].closed.is_none();
        self.pass = self.order.iter().copied().filter(is_open).collect();
    }
}

impl CaseState {
    /// Nanoseconds that an open case still takes, with the least rounds and with the most, if each
    /// takes `tries`.
    fn left_ns(&self, round_ns: f64, tries: f64, budget: Budget) -> (f64, f64) {
        let tried = self.rounds + self.disturbed;
        let round_ns = match tried {
            0 => round_ns,
            tried => self.spent_ns as f64 / f64::from(tried),
        };
        // Whatever is open gets one more at least.
        let least = budget.rounds_min.saturating_sub(self.rounds).max(1);
        let most = match self.targets.is_empty() {
            true => least,
            false => budget.rounds_max.saturating_sub(self.rounds).max(least),
        };
        let repeats_left = f64::from(budget.rounds_max.saturating_sub(self.disturbed));
        let time_of = |rounds: u32| {
            let rounds = f64::from(rounds);
            round_ns * (rounds * tries).min(rounds + repeats_left)
        };
        // The seconds end what is beyond the least rounds, once the round is over.
        let paid = budget.seconds as f64 * 1e9 - self.spent_ns as f64;
        let paid = ((paid / round_ns).ceil() * round_ns).max(round_ns);
        let least_ns = time_of(least);
        (least_ns, time_of(most).min(paid).max(least_ns))
    }

    /// The widest half-width as a share of what is asked (below 1 is precise enough). `None` where
    /// nothing steers, or what steers has no pair of values at all: more rounds would tell nothing.
    fn width(&self, confidence: f64) -> Option<f64> {
        let widths = self.targets.iter().zip(&self.pairs);
        widths.filter_map(|(target, pairs)| target.width(pairs, confidence)).max_by(f64::total_cmp)
    }
}

impl Target {
    /// The half-width of the interval of `pairs` (baseline, candidate) as a share of what is asked:
    /// infinite for fewer than two, and where one side alone is zero in some, since more rounds may
    /// settle the direction. Where the values lie in states it is at least that of what a change of
    /// their shares may bring about. `None` where no pair has a ratio.
    fn width(&self, pairs: &[(i64, i64)], confidence: f64) -> Option<f64> {
        let d: Vec<f64> =
            pairs.iter().filter_map(|(b, c)| log_ratio_or_infinite(*b as f64, *c as f64)).collect();
        if d.iter().any(|d| d.is_infinite()) {
            return Some(f64::INFINITY);
        }
        let moments = moments(&d)?;
        let Some(variance) = moments.variance else { return Some(f64::INFINITY) };
        let n = f64::from(moments.n);
        let half_width = match variance > 0.0 {
            true => t_quantile(confidence, n - 1.0) * (variance / n).sqrt(),
            false => 0.0,
        };
        let half_width = half_width.max(self.shares_half_width(pairs, confidence));
        // δ = 0 can never be reached; but what does not vary is as precise as can be.
        Some(if half_width == 0.0 { 0.0 } else { half_width / self.half_width })
    }

    /// The half-width of what a change of the shares of states may bring about; 0 where there are
    /// none so far apart that it could be more than δ.
    fn shares_half_width(&self, pairs: &[(i64, i64)], confidence: f64) -> f64 {
        let (baseline, candidate): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
        let rounds = pairs.len() as u32;
        let shares = States::of_values(&baseline, &candidate, pairs)
            .map(|states| states.shares(rounds))
            .or(self.past_states.map(|past| past.shares(rounds)));
        let counts = |shares: &Shares| shares.distance > 2.0 * self.half_width;
        shares.filter(counts).map_or(0.0, |shares| shares.shift(confidence).1)
    }
}

#[cfg(test)]
mod tests;
