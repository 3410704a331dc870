//! The step from what GitHub shows to what is due: pure.

use super::{Action, Check, Entry, Say, Shown, ShownCheck, ShownComment};

/// How long after a creation was asked for GitHub shows it at the latest, in µs.
pub const SETTLE_US: i64 = 60_000_000;

/// What is to be done about an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Act(Action),
    /// A creation was asked for, and may show yet.
    Wait {
        until_us: i64,
    },
    /// GitHub shows it, or there is nothing to be said.
    Done,
}

/// The next step for `entry` of the bot of account `own`, at `now_us`.
pub fn reconcile(entry: &Entry, own: u64, shown: &Shown, now_us: i64) -> Step {
    let step = match (&entry.what, shown) {
        (Say::Comment { marker, body, is_update }, Shown::Comments(comments)) => {
            comment(own, marker, body, *is_update, comments)
        }
        (Say::Reaction { comment, content }, Shown::Reactions(reactions)) => {
            let is_ours =
                |(author, what): &(Option<u64>, String)| *author == Some(own) && what == content;
            match reactions.iter().any(is_ours) {
                true => Step::Done,
                false => Step::Act(Action::CreateReaction {
                    comment: *comment,
                    content: content.clone(),
                }),
            }
        }
        (Say::Check(wanted), Shown::Checks(checks)) => check(wanted, checks),
        (Say::Labels { on, managed }, Shown::Labels(labels)) => {
            let missing: std::collections::BTreeSet<String> =
                on.difference(labels).cloned().collect();
            let mut off = managed.iter().filter(|label| !on.contains(*label));
            match off.find(|label| labels.contains(*label)) {
                _ if !missing.is_empty() => Step::Act(Action::AddLabels(missing)),
                Some(label) => Step::Act(Action::RemoveLabel(label.clone())),
                None => Step::Done,
            }
        }
        // Something else was looked at: nothing is known.
        _ => Step::Wait { until_us: now_us + SETTLE_US },
    };
    match (&step, entry.tried_us) {
        // A clock that was set back must not keep it waiting for years.
        (Step::Act(action), Some(tried_us))
            if action.is_creation()
                && (0..SETTLE_US).contains(&now_us.saturating_sub(tried_us)) =>
        {
            Step::Wait { until_us: tried_us + SETTLE_US }
        }
        _ => step,
    }
}

/// The step for the one comment of `marker`: the oldest of our own that begins with it.
fn comment(own: u64, marker: &str, body: &str, is_update: bool, comments: &[ShownComment]) -> Step {
    let mut ours: Vec<&ShownComment> = comments
        .iter()
        .filter(|comment| comment.author == Some(own))
        .filter(|comment| comment.body.lines().next().map(str::trim_end) == Some(marker))
        .collect();
    ours.sort_by_key(|comment| comment.id);
    match ours.as_slice() {
        [] if is_update => Step::Done,
        [] => Step::Act(Action::CreateComment { body: body.to_string() }),
        // A second one should never be; where there is one, it goes.
        [_, second, ..] => Step::Act(Action::RemoveComment { id: second.id }),
        [only] if is_same(&only.body, body) => Step::Done,
        [only] => Step::Act(Action::UpdateComment { id: only.id, body: body.to_string() }),
    }
}

/// Whether two texts differ in nothing but what GitHub changes of a text that it is given.
fn is_same(shown: &str, body: &str) -> bool {
    let plain = |text: &str| text.replace("\r\n", "\n").trim_end().to_string();
    plain(shown) == plain(body)
}

fn check(wanted: &Check, checks: &[ShownCheck]) -> Step {
    let is_it = |check: &&ShownCheck| check.name == wanted.name && check.request == wanted.request;
    let newest = checks.iter().filter(is_it).max_by_key(|check| check.id);
    match newest {
        None => Step::Act(Action::CreateCheck(wanted.clone())),
        Some(found)
            if found.state == wanted.state
                && is_same(&found.title, &wanted.title)
                && is_same(&found.summary, &wanted.summary) =>
        {
            Step::Done
        }
        Some(found) => Step::Act(Action::UpdateCheck { id: found.id, check: wanted.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::configuration::RepositoryName;
    use crate::outbox::{CheckState, Place};

    const OWN: u64 = 1;
    const MARKER: &str = "<!-- dyno report: wasmi -->";

    fn entry(what: Say, tried_us: Option<i64>) -> Entry {
        let repository = RepositoryName::new("acme/widget").unwrap();
        Entry { tried_us, ..Entry::new(Place { repository, number: 1 }, what) }
    }

    fn set(labels: &[&str]) -> BTreeSet<String> {
        labels.iter().map(|label| label.to_string()).collect()
    }

    #[test]
    fn one_comment_by_our_own_marker() {
        let body = format!("{MARKER}\ntext");
        let old = format!("{MARKER}\nolder");
        let create = Step::Act(Action::CreateComment { body: body.clone() });
        let update = |id| Step::Act(Action::UpdateComment { id, body: body.clone() });
        let quoted = format!("> {body}");
        let later = format!("Hello\n{body}");
        let returns = format!("{}\r\n", body.replace('\n', "\r\n"));
        type Comment<'a> = (u64, Option<u64>, &'a str);
        let cases: Vec<(&str, Vec<Comment<'_>>, Step)> = vec![
            ("nothing yet", vec![], create.clone()),
            ("it stands there", vec![(5, Some(OWN), &body)], Step::Done),
            ("as GitHub gives it back", vec![(5, Some(OWN), &returns)], Step::Done),
            ("an older text", vec![(5, Some(OWN), &old)], update(5)),
            ("a stranger's marker", vec![(5, Some(666), &body)], create.clone()),
            ("one of an account that is gone", vec![(5, None, &body)], create.clone()),
            (
                "a stranger's, then ours",
                vec![(5, Some(666), &body), (6, Some(OWN), &old)],
                update(6),
            ),
            (
                "another marker of ours",
                vec![(5, Some(OWN), "<!-- dyno report: rustc -->\ntext")],
                create.clone(),
            ),
            ("ours, quoted by us", vec![(5, Some(OWN), &quoted)], create.clone()),
            ("ours, not in the first line", vec![(5, Some(OWN), &later)], create.clone()),
            (
                "two of ours",
                vec![(6, Some(OWN), &body), (5, Some(OWN), &body)],
                Step::Act(Action::RemoveComment { id: 6 }),
            ),
            (
                "two of ours, both old",
                vec![(6, Some(OWN), &old), (5, Some(OWN), &old)],
                Step::Act(Action::RemoveComment { id: 6 }),
            ),
        ];
        for (what, shown, expected) in cases {
            let comments = shown.into_iter().map(|(id, author, body)| ShownComment {
                id,
                author,
                body: body.to_string(),
            });
            let say = Say::Comment { marker: MARKER.into(), body: body.clone(), is_update: false };
            let step = reconcile(&entry(say, None), OWN, &Shown::Comments(comments.collect()), 0);
            assert_eq!(step, expected, "{what}");
        }
    }

    #[test]
    fn a_creation_is_not_repeated_before_a_lost_one_would_show() {
        let body = format!("{MARKER}\ntext");
        let create = Step::Act(Action::CreateComment { body: body.clone() });
        let now = 1_000_000_000_i64;
        for (tried_us, is_update, expected) in [
            (None, false, create.clone()),
            (Some(now), false, Step::Wait { until_us: now + SETTLE_US }),
            (Some(now - SETTLE_US + 1), false, Step::Wait { until_us: now + 1 }),
            (Some(now - SETTLE_US), false, create.clone()),
            (Some(now + 1), false, create.clone()),
            (Some(i64::MAX), false, create),
            (None, true, Step::Done),
        ] {
            let say = Say::Comment { marker: MARKER.into(), body: body.clone(), is_update };
            let step = reconcile(&entry(say, tried_us), OWN, &Shown::Comments(vec![]), now);
            assert_eq!(step, expected, "{tried_us:?}");
        }
    }

    #[test]
    fn checks_reactions_and_labels() {
        let check = |request: &str, state| Check {
            name: "dyno: wasmi".into(),
            head: "a".repeat(40).parse().unwrap(),
            request: request.into(),
            state,
            title: "t".into(),
            summary: "s".into(),
        };
        let shown = |id, check: &Check| ShownCheck {
            id,
            name: check.name.clone(),
            request: check.request.clone(),
            state: check.state,
            title: check.title.clone(),
            summary: check.summary.clone(),
        };
        let (running, ended) =
            (check("2", CheckState::InProgress), check("2", CheckState::Neutral));
        let stale = shown(7, &check("1", CheckState::Failure));
        let other = ShownCheck { name: "dyno: rustc".into(), ..shown(8, &running) };
        let create = Step::Act(Action::CreateCheck(running.clone()));
        for (wanted, found, expected) in [
            (&running, vec![], create.clone()),
            // An earlier request of the name has ended, and its conclusion stays its own.
            (&running, vec![stale.clone()], create.clone()),
            (&running, vec![other], create),
            (&running, vec![stale.clone(), shown(9, &running)], Step::Done),
            (
                &ended,
                vec![stale, shown(9, &running)],
                Step::Act(Action::UpdateCheck { id: 9, check: ended.clone() }),
            ),
        ] {
            let entry = entry(Say::Check(wanted.clone()), None);
            assert_eq!(reconcile(&entry, OWN, &Shown::Checks(found), 0), expected);
        }
        let eyes = Say::Reaction { comment: 3, content: "eyes".into() };
        for (found, is_done) in [
            (vec![], false),
            (vec![(Some(2), "eyes"), (None, "eyes"), (Some(OWN), "heart")], false),
            (vec![(Some(OWN), "eyes")], true),
        ] {
            let found = found.into_iter().map(|(who, what)| (who, what.to_string())).collect();
            let step = reconcile(&entry(eyes.clone(), None), OWN, &Shown::Reactions(found), 0);
            assert_eq!(step == Step::Done, is_done, "{step:?}");
        }
        let labels = Say::Labels { on: set(&["slow"]), managed: set(&["slow", "fast", "wait"]) };
        for (found, expected) in [
            (set(&["other"]), Step::Act(Action::AddLabels(set(&["slow"])))),
            (set(&["wait"]), Step::Act(Action::AddLabels(set(&["slow"])))),
            (set(&["slow", "wait", "other"]), Step::Act(Action::RemoveLabel("wait".into()))),
            (set(&["slow", "other"]), Step::Done),
        ] {
            assert_eq!(
                reconcile(&entry(labels.clone(), None), OWN, &Shown::Labels(found), 0),
                expected
            );
        }
    }
}
