//! Pull requests.

use super::Call;
use crate::json;
use crate::reply::{Answer, Reply};
use crate::state::{Issue, PullRequest, State};

fn find<'a>(state: &'a State, call: &Call) -> Result<(&'a Issue, &'a PullRequest), Reply> {
    let issue = call.repository(state).issues.get(&call.number("pull_number"));
    let issue = issue.ok_or_else(Reply::not_found)?;
    Ok((issue, issue.pull.as_ref().ok_or_else(Reply::not_found)?))
}

pub(super) fn get(state: &mut State, call: &Call) -> Answer {
    let (issue, pull) = find(state, call)?;
    Ok(Reply::new(200, json::pull(state, call.repository(state), issue, pull)))
}

pub(super) fn commits(state: &mut State, call: &Call) -> Answer {
    let (_, pull) = find(state, call)?;
    let commits = json::new_commits(state, pull).into_iter();
    let shown = commits.map(|commit| json::commit(state, call.repository(state), commit));
    Ok(Reply::list(shown.collect()))
}

pub(super) fn files(state: &mut State, call: &Call) -> Answer {
    let (_, pull) = find(state, call)?;
    let repository = call.repository(state);
    let changes = state.changes(Some(&pull.base), &pull.head);
    let shown = changes.iter().map(|change| json::file(state, repository, &pull.head, change));
    Ok(Reply::list(shown.collect()))
}

pub(super) fn reviews(state: &mut State, call: &Call) -> Answer {
    let (issue, pull) = find(state, call)?;
    let repository = call.repository(state);
    let reviews = pull.reviews.iter();
    let shown = reviews.map(|review| json::review(state, repository, issue.number, review));
    Ok(Reply::list(shown.collect()))
}
