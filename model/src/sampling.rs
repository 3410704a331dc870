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
use crate::stats::{log_effect, log_ratio_or_infinite, moments, t_quantile};

/// A metric that steers a case, and the half-width its interval must come below (log scale).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Target {
    pub metric: String,
    pub half_width: f64,
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
    /// ln(candidate / baseline) of each finished round, by target; infinite where one is zero.
    d: Vec<Vec<f64>>,
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
            d: vec![Vec::new(); targets.len()],
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
        for (d, pair) in state.d.iter_mut().zip(values) {
            d.extend(pair.and_then(|(b, c)| log_ratio_or_infinite(b as f64, c as f64)));
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

    /// A case of which one side alone works has no pairs to be precise about: it gets its least
    /// rounds.
    pub fn measure_alone(&mut self, case: usize) {
        self.cases[case].targets.clear();
        self.cases[case].d.clear();
    }

    /// A case that does not work gets no more rounds.
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
    /// The widest half-width as a share of what is asked (below 1 is precise enough); infinite
    /// for a target with fewer than two rounds, and for one with a zero on one side alone, whose
    /// direction more rounds may settle. `None` where nothing steers, or what steers has no pair of
    /// values at all: more rounds would tell nothing.
    fn width(&self, confidence: f64) -> Option<f64> {
        let width = |(target, d): (&Target, &Vec<f64>)| {
            if d.iter().any(|d| d.is_infinite()) {
                return Some(f64::INFINITY);
            }
            let moments = moments(d)?;
            let Some(variance) = moments.variance else { return Some(f64::INFINITY) };
            let n = f64::from(moments.n);
            let half_width = match variance > 0.0 {
                true => t_quantile(confidence, n - 1.0) * (variance / n).sqrt(),
                false => 0.0,
            };
            // δ = 0 can never be reached; but what does not vary is as precise as can be.
            Some(if half_width == 0.0 { 0.0 } else { half_width / target.half_width })
        };
        self.targets.iter().zip(&self.d).filter_map(width).max_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::catalog::policy;
    use crate::catalog::suite::Config;
    use proptest::prelude::*;

    const fn budget(rounds_min: u32, rounds_max: u32, seconds: u64) -> Budget {
        Budget { rounds_min, rounds_max, seconds }
    }

    fn wall(half_width: f64) -> Vec<Target> {
        vec![Target { metric: "wall".into(), half_width }]
    }

    /// Runs `sampler` on cases whose d alternates between ±`noise`; all turns in order.
    fn run(
        mut sampler: Sampler,
        noise: &[f64],
        round_ns: u64,
    ) -> (Vec<ScheduledRun>, Vec<(StopReason, u32)>) {
        let mut turns = Vec::new();
        while let Some(round) = sampler.next_round() {
            turns.extend(round);
            let ScheduledRun { case, round, .. } = round[0];
            let sign = if round % 2 == 0 { 1.0 } else { -1.0 };
            let candidate = (1e9 * (sign * noise[case]).exp()) as i64;
            sampler.finish_round(case, round_ns, &[Some((1_000_000_000, candidate))]);
            assert!(turns.len() < 100_000, "it ends");
        }
        let closed =
            sampler.stop_reasons().map(|(closed, rounds)| (closed.unwrap(), rounds)).collect();
        (turns, closed)
    }

    proptest! {
        #[test]
        fn each_round_has_both_sides_next_to_each_other_and_abba(
            noise in proptest::collection::vec(0.0f64..0.2, 1..6),
            least in 1u32..6, more in 0u32..10, seed: u64
        ) {
            let targets = vec![wall(0.005); noise.len()];
            let sampler = Sampler::new(targets, budget(least, least + more, 1000), 0.95, seed);
            let (turns, closed) = run(sampler, &noise, 1);
            for pair in turns.chunks(2) {
                prop_assert_eq!((pair[0].case, pair[0].round), (pair[1].case, pair[1].round));
                prop_assert_eq!(pair[0].side, pair[1].side.other());
            }
            for (case, (_, rounds)) in closed.iter().enumerate() {
                prop_assert!((least..=least + more).contains(rounds));
                let firsts: Vec<Side> =
                    turns.chunks(2).filter(|p| p[0].case == case).map(|p| p[0].side).collect();
                prop_assert_eq!(firsts.len(), *rounds as usize);
                for two in firsts.windows(2) {
                    prop_assert_eq!(two[0], two[1].other(), "ABBA");
                }
            }
        }
    }

    #[test]
    fn when_a_case_is_closed() {
        // (noise, targets, budget, ns a round) → why, rounds
        for (what, noise, targets, budget, round_ns, expected) in [
            ("precise", 0.001, wall(0.005), budget(3, 30, 60), 1, (StopReason::Precise, 3)),
            ("still", 0.0, wall(0.0), budget(3, 30, 60), 1, (StopReason::Precise, 3)),
            ("needs more", 0.01, wall(0.005), budget(3, 30, 60), 1, (StopReason::Precise, 19)),
            (
                "never precise",
                0.5,
                wall(0.005),
                budget(3, 30, 60),
                1,
                (StopReason::OutOfRounds, 30),
            ),
            ("δ of zero", 0.5, wall(0.0), budget(3, 9, 60), 1, (StopReason::OutOfRounds, 9)),
            (
                "time",
                0.5,
                wall(0.005),
                budget(3, 30, 60),
                10_000_000_000,
                (StopReason::OutOfTime, 6),
            ),
            (
                "least rounds first",
                0.5,
                wall(0.005),
                budget(9, 30, 1),
                1 << 40,
                (StopReason::OutOfTime, 9),
            ),
            ("nothing steers", 0.5, vec![], budget(3, 30, 60), 1, (StopReason::LeastRounds, 3)),
        ] {
            let sampler = Sampler::new(vec![targets], budget, 0.95, 7);
            assert_eq!(run(sampler, &[noise], round_ns).1, [expected], "{what}");
        }
    }

    #[test]
    fn disturbed_rounds_come_again_within_bounds() {
        // Each round is disturbed until it was tried `tries` times; → why, rounds, disturbed.
        for (what, tries, budget, round_ns, expected) in [
            ("never", 1, budget(3, 30, 60), 1, (StopReason::Precise, 3, 0)),
            ("every other", 2, budget(3, 30, 60), 1, (StopReason::Precise, 3, 3)),
            ("always", u32::MAX, budget(3, 5, 60), 1, (StopReason::Noisy, 0, 5)),
            ("out of repetitions", 3, budget(4, 6, 60), 1, (StopReason::Noisy, 2, 6)),
            ("out of time", u32::MAX, budget(3, 30, 60), 20_000_000_000, (StopReason::Noisy, 0, 3)),
        ] {
            let mut sampler = Sampler::new(vec![wall(0.005)], budget, 0.95, 7);
            let (mut tried, mut seen) = (0, Vec::new());
            while let Some([turn, _]) = sampler.next_round() {
                tried += 1;
                seen.push((turn.round, turn.side));
                if tried < tries {
                    sampler.repeat_round(0, round_ns);
                } else {
                    tried = 0;
                    sampler.finish_round(0, round_ns, &[Some((100, 100))]);
                }
            }
            let (closed, rounds) = sampler.stop_reasons().next().unwrap();
            let disturbed = sampler.disturbed_rounds().next().unwrap();
            assert_eq!((closed.unwrap(), rounds, disturbed), expected, "{what}");
            seen.dedup();
            let mut numbers: Vec<u32> = seen.iter().map(|(round, _)| *round).collect();
            numbers.dedup();
            assert_eq!(numbers.len(), seen.len(), "{what}: the order of a round stays");
        }
    }

    #[test]
    fn the_widest_come_first_and_the_failed_no_more() {
        let mut sampler = Sampler::new(vec![wall(0.005); 3], budget(2, 3, 60), 0.95, 1);
        let mut last_rounds = Vec::new();
        while let Some([turn, _]) = sampler.next_round() {
            if turn.round == 2 {
                last_rounds.push(turn.case);
            }
            if turn.case == 1 {
                sampler.fail(1);
                continue;
            }
            let far: f64 = [0.1, 0.0, 0.2][turn.case] * if turn.round == 0 { 1.0 } else { -1.0 };
            sampler.finish_round(
                turn.case,
                1,
                &[Some((1 << 30, (2f64.powi(30) * far.exp()) as i64))],
            );
        }
        assert_eq!(last_rounds, [2, 0]);
        assert_eq!(sampler.progress(), (6, 6));
    }

    #[test]
    fn a_side_that_is_missing_gets_the_least_rounds() {
        let mut sampler = Sampler::new(vec![wall(0.005)], budget(4, 30, 60), 0.95, 1);
        while sampler.next_round().is_some() {
            sampler.finish_round(0, 1, &[None]);
        }
        assert_eq!(
            sampler.stop_reasons().collect::<Vec<_>>(),
            [(Some(StopReason::LeastRounds), 4)]
        );
    }

    #[test]
    fn a_zero_on_one_side_is_never_precise() {
        for pairs in [[(0, 0), (0, 1000)], [(0, 7), (0, 7)]] {
            let mut sampler = Sampler::new(vec![wall(0.005)], budget(3, 12, 60), 0.95, 1);
            while let Some([turn, _]) = sampler.next_round() {
                sampler.finish_round(0, 1, &[Some(pairs[turn.round as usize % 2])]);
            }
            let closed = sampler.stop_reasons().next();
            assert_eq!(closed, Some((Some(StopReason::OutOfRounds), 12)), "{pairs:?}");
        }
    }

    #[test]
    fn a_seed_gives_one_order_for_ever() {
        let sampler = Sampler::new(vec![wall(0.005); 3], budget(2, 2, 60), 0.95, 7);
        let order: Vec<String> = run(sampler, &[0.1; 3], 1)
            .0
            .iter()
            .map(|t| format!("{}{}", t.case, if t.side == Side::Baseline { 'A' } else { 'B' }))
            .collect();
        insta::assert_snapshot!(order.join(" "));
    }

    #[test]
    fn each_round_has_its_own_layout_for_ever() {
        let padding = |case, round, side| ScheduledRun { case, round, side }.padding(7);
        let all: Vec<usize> =
            (0..6).map(|i| padding(i / 3, (i % 3) as u32, Side::Baseline)).collect();
        insta::assert_compact_debug_snapshot!(all);
        assert_eq!(padding(1, 2, Side::Baseline), padding(1, 2, Side::Candidate));
        let far: Vec<usize> = (0..1000).map(|round| padding(0, round, Side::Baseline)).collect();
        assert!(far.iter().all(|p| *p < 4096) && far.iter().any(|p| *p > 3900));
    }

    #[test]
    fn what_steers() {
        let text = "[metric.wall]\nsmallest_effect = 0.01\ndecides = \"otherwise\"\n\
                    [metric.'instructions:cachegrind']\ndecides = true\n\
                    [[metric.max-rss.where]]\naxis = { threads = \"4\" }\ndecides = true\n";
        let policy = policy::parse("p", "p.toml", text, &[]).unwrap();
        let metrics = ["wall", "max-rss", "instructions:cachegrind"].map(String::from);
        let steering = |config: &str| -> Vec<String> {
            let case = Case { benchmark: "fib".into(), config: Config::read(config) };
            targets(&case, "h", &metrics, &policy).into_iter().map(|t| t.metric).collect()
        };
        assert_eq!(steering(""), ["wall"]);
        assert_eq!(steering("threads=4"), ["max-rss"]);
    }
}
