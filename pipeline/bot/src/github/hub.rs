//! What the outbox looks at and does: comments, reactions, labels, and check runs for an App or the
//! statuses of a commit for a token.

use dyno_queue::Clock;
use serde::Deserialize;
use serde_json::{Value, json};

use super::GitHub;
use super::wire::{Method, Transport};
use crate::outbox::{
    Action, Check, CheckState, Hub, HubTrouble, Place, Say, Shown, ShownCheck, ShownComment,
};

#[derive(Deserialize)]
struct User {
    id: u64,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    user: Option<User>,
    body: Option<String>,
}

#[derive(Deserialize)]
struct Reaction {
    user: Option<User>,
    content: String,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

#[derive(Deserialize)]
struct CheckRun {
    id: u64,
    name: String,
    external_id: Option<String>,
    status: String,
    conclusion: Option<String>,
    output: Output,
}

#[derive(Deserialize)]
struct Output {
    title: Option<String>,
    summary: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    id: u64,
    context: String,
    state: String,
    description: Option<String>,
    creator: Option<User>,
}

/// The longest description of a commit's status, in characters.
const DESCRIPTION_CHARS_MAX: usize = 140;

impl<T: Transport, C: Clock> Hub for GitHub<T, C> {
    async fn look(&self, place: &Place, what: &Say) -> Result<Shown, HubTrouble> {
        let (repository, number) = (&place.repository, place.number.to_string());
        Ok(match what {
            Say::Comment { .. } => {
                let path = ["issues", &number, "comments"];
                let comments: Vec<Comment> = self.list(repository, &path, &[], None).await?;
                let shown = comments.into_iter().map(|comment| ShownComment {
                    id: comment.id,
                    author: comment.user.map(|user| user.id),
                    body: comment.body.unwrap_or_default(),
                });
                Shown::Comments(shown.collect())
            }
            Say::Reaction { comment, content } => {
                let path = ["issues", "comments", &comment.to_string(), "reactions"];
                let query = [("content", content.as_str())];
                let found: Vec<Reaction> = self.list(repository, &path, &query, None).await?;
                let shown =
                    found.into_iter().map(|one| (one.user.map(|user| user.id), one.content));
                Shown::Reactions(shown.collect())
            }
            Say::Check(check) => Shown::Checks(match self.access.app() {
                Some(app) => self.check_runs(place, check, app).await?,
                None => self.statuses(place, check).await?,
            }),
            Say::Labels { .. } => {
                let path = ["issues", &number, "labels"];
                let labels: Vec<Label> = self.list(repository, &path, &[], None).await?;
                Shown::Labels(labels.into_iter().map(|label| label.name).collect())
            }
        })
    }

    async fn act(&self, place: &Place, action: &Action) -> Result<(), HubTrouble> {
        let number = place.number.to_string();
        let comment_path = |id: &u64| ["issues".to_string(), "comments".into(), id.to_string()];
        let (method, path, body): (Method, Vec<String>, Option<Value>) = match action {
            Action::CreateComment { body } => {
                let path = ["issues".into(), number, "comments".into()].into();
                (Method::Post, path, Some(json!({ "body": body })))
            }
            Action::UpdateComment { id, body } => {
                (Method::Patch, comment_path(id).into(), Some(json!({ "body": body })))
            }
            Action::RemoveComment { id } => (Method::Delete, comment_path(id).into(), None),
            Action::CreateReaction { comment, content } => {
                let mut path = Vec::from(comment_path(comment));
                path.push("reactions".into());
                (Method::Post, path, Some(json!({ "content": content })))
            }
            Action::CreateCheck(check) | Action::UpdateCheck { check, .. }
                if self.access.app().is_none() =>
            {
                let path = ["statuses".into(), check.head.hex().into()].into();
                (Method::Post, path, Some(status_body(check)))
            }
            Action::CreateCheck(check) => {
                let mut body = check_body(check);
                body["name"] = check.name.as_str().into();
                body["head_sha"] = check.head.hex().into();
                body["external_id"] = check.request.as_str().into();
                (Method::Post, ["check-runs".into()].into(), Some(body))
            }
            Action::UpdateCheck { id, check } => {
                let path = ["check-runs".into(), id.to_string()].into();
                (Method::Patch, path, Some(check_body(check)))
            }
            Action::AddLabels(labels) => {
                let path = ["issues".into(), number, "labels".into()].into();
                (Method::Post, path, Some(json!({ "labels": labels })))
            }
            Action::RemoveLabel(label) => {
                let path = ["issues".into(), number, "labels".into(), label.clone()].into();
                (Method::Delete, path, None)
            }
        };
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match self.write(&place.repository, method, &path, body).await {
            // What is to go is gone.
            Err(HubTrouble::Gone(_)) if method == Method::Delete => Ok(()),
            done => done,
        }
    }
}

impl<T: Transport, C: Clock> GitHub<T, C> {
    async fn check_runs(
        &self,
        place: &Place,
        check: &Check,
        app: u64,
    ) -> Result<Vec<ShownCheck>, HubTrouble> {
        let path = ["commits", check.head.hex(), "check-runs"];
        let app = app.to_string();
        let query = [("check_name", check.name.as_str()), ("filter", "all"), ("app_id", &app)];
        let found: Vec<CheckRun> =
            self.list(&place.repository, &path, &query, Some("check_runs")).await?;
        let shown = found.into_iter().map(|run| ShownCheck {
            id: run.id,
            name: run.name,
            request: run.external_id.unwrap_or_default(),
            state: match (run.status.as_str(), run.conclusion.as_deref()) {
                ("completed", Some("success")) => CheckState::Success,
                ("completed", Some("failure")) => CheckState::Failure,
                ("completed", Some("cancelled")) => CheckState::Cancelled,
                ("completed", _) => CheckState::Neutral,
                ("in_progress", _) => CheckState::InProgress,
                _ => CheckState::Queued,
            },
            title: run.output.title.unwrap_or_default(),
            summary: run.output.summary.unwrap_or_default(),
        });
        Ok(shown.collect())
    }

    /// The statuses that the bot gave the commit. A status says less than a check does: where it says
    /// all that it can say of `check`, it is shown as that.
    async fn statuses(&self, place: &Place, check: &Check) -> Result<Vec<ShownCheck>, HubTrouble> {
        let path = ["commits", check.head.hex(), "statuses"];
        let found: Vec<Status> = self.list(&place.repository, &path, &[], None).await?;
        let mine = found.into_iter().filter(|status| {
            status.context == check.name
                && status.creator.as_ref().is_some_and(|user| user.id == self.own)
        });
        // The newest of a context counts, and they come so.
        let newest = mine.max_by_key(|status| status.id);
        let (state, description) = status_of(check);
        Ok(newest
            .into_iter()
            .map(|status| shown_status(check, status, state, &description))
            .collect())
    }
}

fn shown_status(check: &Check, status: Status, state: &str, description: &str) -> ShownCheck {
    let is_said = status.state == state && status.description.as_deref() == Some(description);
    ShownCheck {
        id: status.id,
        name: check.name.clone(),
        request: check.request.clone(),
        state: check.state,
        title: if is_said { check.title.clone() } else { String::new() },
        summary: if is_said { check.summary.clone() } else { String::new() },
    }
}

/// The state and the description of a status.
fn status_of(check: &Check) -> (&'static str, String) {
    let state = match check.state {
        CheckState::Queued | CheckState::InProgress => "pending",
        CheckState::Neutral | CheckState::Success => "success",
        CheckState::Failure => "failure",
        CheckState::Cancelled => "error",
    };
    (state, check.title.chars().take(DESCRIPTION_CHARS_MAX).collect())
}

fn status_body(check: &Check) -> Value {
    let (state, description) = status_of(check);
    json!({ "state": state, "context": check.name, "description": description })
}

fn check_body(check: &Check) -> Value {
    let mut body = json!({ "output": { "title": check.title, "summary": check.summary } });
    let conclusion = match check.state {
        CheckState::Queued => None,
        CheckState::InProgress => None,
        CheckState::Neutral => Some("neutral"),
        CheckState::Success => Some("success"),
        CheckState::Failure => Some("failure"),
        CheckState::Cancelled => Some("cancelled"),
    };
    match conclusion {
        Some(conclusion) => {
            body["status"] = "completed".into();
            body["conclusion"] = conclusion.into();
        }
        None if check.state == CheckState::Queued => body["status"] = "queued".into(),
        None => body["status"] = "in_progress".into(),
    }
    body
}
