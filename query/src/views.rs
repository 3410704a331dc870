//! Views that are plain SQL over the stored tables.

/// Every view, by name.
pub(crate) const VIEWS: &[(&str, &str)] =
    &[("history", HISTORY), ("noise", NOISE), ("rounds", ROUNDS)];

/// One row a series, job and side: the series' course over commits and time.
const HISTORY: &str = "
    SELECT suite, benchmark, config, metric, unit, host, series, 'baseline' AS side,
           baseline_commit AS commit, job, rounds, baseline_median AS median,
           baseline_min AS min, baseline_max AS max, finished, arch, month, emulated, trust
    FROM summaries WHERE baseline_median IS NOT NULL
    UNION ALL
    SELECT suite, benchmark, config, metric, unit, host, series, 'candidate',
           candidate_commit, job, rounds, candidate_median,
           candidate_min, candidate_max, finished, arch, month, emulated, trust
    FROM summaries WHERE candidate_median IS NOT NULL";

/// The pooled within-run variance of d of each series (design, \"Noise from history\") and its
/// degrees of freedom, Σ (nᵢ − 1) sᵢ² / Σ (nᵢ − 1), over runs on one fingerprint in one image: a
/// change of kernel, microcode, governor, engine or image starts afresh. `sd` is close to a
/// fraction: 0.01 is about one per cent a round.
const NOISE: &str = "
    SELECT s.suite, s.benchmark, s.config, s.metric, s.host, s.series, s.fingerprint, r.image_id,
           count(*) AS jobs, sum(s.rounds - 1) AS df,
           sum((s.rounds - 1) * s.variance) / sum(s.rounds - 1) AS variance,
           sqrt(sum((s.rounds - 1) * s.variance) / sum(s.rounds - 1)) AS sd,
           max(s.finished) AS newest
    FROM summaries s JOIN runs r ON s.job = r.job
    WHERE s.rounds > 1 AND s.variance >= 0 AND s.zero_grew IS NULL AND r.trust = 'trusted'
    GROUP BY s.suite, s.benchmark, s.config, s.metric, s.host, s.series, s.fingerprint, r.image_id";

/// One row a series, job and round, with what `model::verdict::summarise` takes of it: of each side
/// the last sample that is not tainted, NULL where there is none.
///
/// Filters on what is grouped by go down to the samples and choose files there; those on what
/// `runs` adds reach them as the list of jobs that the join is left with.
const ROUNDS: &str = "
    SELECT r.suite, r.benchmark, r.config, r.metric, r.unit, r.host, r.series, r.job, r.round,
           r.baseline, r.candidate, log_ratio(r.baseline, r.candidate) AS log_ratio, r.tainted,
           runs.baseline_commit, runs.candidate_commit, runs.baseline_asked, runs.candidate_asked,
           runs.finished, r.arch, r.month, runs.emulated, runs.trust
    FROM (SELECT suite, benchmark, config, metric, unit, host, series, job, round,
                 last_value(value ORDER BY sequence)
                     FILTER (WHERE side = 'baseline' AND taint = '') AS baseline,
                 last_value(value ORDER BY sequence)
                     FILTER (WHERE side = 'candidate' AND taint = '') AS candidate,
                 count(*) FILTER (WHERE taint <> '') AS tainted, arch, month
          FROM samples
          GROUP BY suite, benchmark, config, metric, unit, host, series, job, round, arch, month) r
    JOIN runs ON runs.job = r.job";
