//! Check runs, which an App makes, and commit statuses, which anyone may who can write.

use serde_json::{Map, Value, json};

use super::Call;
use crate::json;
use crate::reply::{Answer, Reply};
use crate::state::{Bearer, CheckRun, State, Status, timestamp};

fn app(state: &State, call: &Call) -> Result<u64, Reply> {
    match call.token.bearer {
        Bearer::Installation(id) => Ok(state.installations[&id].app),
        _ => Err(Reply::refusal(403, "You must authenticate via a GitHub App.")),
    }
}

/// Takes over what a request says of a check run. A conclusion completes it; what is completed has
/// a conclusion; and one that runs again has none.
fn apply(run: &mut Map<String, Value>, said: &Value, now: i64) -> Result<(), Reply> {
    let said = said.as_object().cloned().unwrap_or_default();
    let has_conclusion = said.contains_key("conclusion");
    let status = said.get("status").and_then(Value::as_str).map(str::to_string);
    if status.as_deref() == Some("completed") && !has_conclusion {
        return Err(Reply::invalid("CheckRun", "conclusion", "missing_field", None));
    }
    run.extend(said);
    if has_conclusion {
        run.insert("status".into(), "completed".into());
        run.entry("completed_at").or_insert_with(|| timestamp(now).into());
    } else if status.is_some() {
        run.remove("conclusion");
        run.remove("completed_at");
    }
    run.entry("status").or_insert_with(|| "queued".into());
    run.entry("started_at").or_insert_with(|| timestamp(now).into());
    Ok(())
}

pub(super) fn create(state: &mut State, call: &Call) -> Answer {
    let app = app(state, call)?;
    let asked = call.text("head_sha").unwrap_or_default();
    let head = state.resolve(call.repository(state), &asked);
    let head = head.filter(|commit| commit.sha == asked).map(|commit| commit.sha.clone());
    let head =
        head.ok_or_else(|| Reply::refusal(422, &format!("No commit found for SHA: {asked}")))?;
    let mut fields = Map::new();
    apply(&mut fields, &call.body, state.now)?;
    fields.remove("head_sha");
    let run = CheckRun { id: state.new_id(), app, head, fields };
    let shown = json::check_run(state, call.repository(state), &run);
    call.repository_mut(state).checks.push(run);
    Ok(Reply::new(201, shown))
}

pub(super) fn update(state: &mut State, call: &Call) -> Answer {
    let (app, now, id) = (app(state, call)?, state.now, call.number("check_run_id"));
    let mut runs = call.repository_mut(state).checks.iter_mut();
    let run = runs.find(|run| run.id == id).ok_or_else(Reply::not_found)?;
    if run.app != app {
        return Err(Reply::refusal(
            403,
            "Invalid app_id `${app_id}` - check run can only be modified by the GitHub App that created it.",
        ));
    }
    apply(&mut run.fields, &call.body, now)?;
    let repository = call.repository(state);
    let run = repository.checks.iter().find(|run| run.id == id).unwrap();
    Ok(Reply::new(200, json::check_run(state, repository, run)))
}

/// The check runs of a commit: the latest of each App and name, unless all are asked for.
pub(super) fn list(state: &mut State, call: &Call) -> Answer {
    let repository = call.repository(state);
    let commit = state.resolve(repository, &call.path["ref"]);
    let commit = commit.ok_or_else(|| {
        Reply::refusal(422, &format!("No commit found for SHA: {}", call.path["ref"]))
    })?;
    let is_all = call.parameter("filter") == Some("all");
    let runs = repository.checks.iter().rev().filter(|run| run.head == commit.sha);
    let mut found: Vec<&CheckRun> = Vec::new();
    for run in runs {
        let is_old =
            |newer: &&CheckRun| newer.app == run.app && newer.fields["name"] == run.fields["name"];
        if is_all || !found.iter().any(is_old) {
            found.push(run);
        }
    }
    let equal =
        |name: &str, value: &Value| call.parameter(name).is_none_or(|wanted| value == wanted);
    found.retain(|run| {
        let is_app = call.parameter("app_id").is_none_or(|app| app == run.app.to_string());
        equal("check_name", &run.fields["name"]) && equal("status", &run.fields["status"]) && is_app
    });
    let shown = found.into_iter().map(|run| json::check_run(state, repository, run));
    Ok(Reply::list_under("check_runs", shown.collect(), json!({})))
}

pub(super) fn create_status(state: &mut State, call: &Call) -> Answer {
    let asked = &call.path["sha"];
    let found = state.resolve(call.repository(state), asked);
    let sha = found
        .map(|commit| commit.sha.clone())
        .ok_or_else(|| Reply::refusal(422, &format!("No commit found for SHA: {asked}")))?;
    let at = state.now;
    let status = Status {
        id: state.new_id(),
        creator: call.account,
        sha,
        state: call.text("state").unwrap_or_default(),
        context: call.text("context").unwrap_or_else(|| "default".into()),
        description: call.text("description"),
        target_url: call.text("target_url"),
        at,
    };
    if status.description.as_ref().is_some_and(|text| text.chars().count() > 140) {
        let message = "description is too long (maximum is 140 characters)";
        return Err(Reply::invalid("Status", "description", "custom", Some(message)));
    }
    let shown = json::status(state, call.repository(state), &status);
    call.repository_mut(state).statuses.push(status);
    let url = shown["url"].as_str().unwrap_or_default().to_string();
    Ok(Reply::new(201, shown).header("location", url))
}

/// The statuses of a commit, the youngest first.
fn of_commit<'a>(state: &'a State, call: &Call) -> Result<(String, Vec<&'a Status>), Reply> {
    let repository = call.repository(state);
    let commit = state.resolve(repository, &call.path["ref"]).ok_or_else(Reply::not_found)?;
    let own = repository.statuses.iter().rev().filter(|status| status.sha == commit.sha);
    Ok((commit.sha.clone(), own.collect()))
}

pub(super) fn statuses(state: &mut State, call: &Call) -> Answer {
    let (_, own) = of_commit(state, call)?;
    let repository = call.repository(state);
    Ok(Reply::list(own.into_iter().map(|one| json::status(state, repository, one)).collect()))
}

/// The youngest status of each context, and what they say together.
pub(super) fn combined_status(state: &mut State, call: &Call) -> Answer {
    let (sha, own) = of_commit(state, call)?;
    let repository = call.repository(state);
    let mut latest: Vec<&Status> = Vec::new();
    for status in own {
        if !latest.iter().any(|newer| newer.context == status.context) {
            latest.push(status);
        }
    }
    let has = |state: &[&str]| latest.iter().any(|one| state.contains(&one.state.as_str()));
    let together = match () {
        _ if has(&["failure", "error"]) => "failure",
        _ if latest.is_empty() || has(&["pending"]) => "pending",
        _ => "success",
    };
    let url = json::repository_url(state, repository);
    let around = json!({
        "state": together,
        "sha": sha,
        "repository": json::repository(state, repository),
        "commit_url": format!("{url}/commits/{sha}"),
        "url": format!("{url}/commits/{sha}/status"),
    });
    let shown = latest.into_iter().map(|one| json::status(state, repository, one));
    Ok(Reply::list_under("statuses", shown.collect(), around))
}
