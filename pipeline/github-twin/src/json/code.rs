//! Commits and what is about them: pull requests, reviews, files, check runs, statuses.

use ring::digest;
use serde_json::{Value, json};

use super::{application, association, html_url, node_id, repository, repository_url, user};
use crate::state::{
    CheckRun, Commit, Issue, PullRequest, Repository, Review, State, Status, hex, timestamp,
};

/// What an issue shows and the pull request that it is does not.
const OF_ISSUES: &[&str] = &[
    "repository_url",
    "labels_url",
    "events_url",
    "pull_request",
    "reactions",
    "state_reason",
    "timeline_url",
    "performed_via_github_app",
];

/// The addresses that a pull request shows once more under `_links`.
const LINKS: &[&str] =
    &["html", "issue", "comments", "review_comments", "review_comment", "commits", "statuses"];

pub(crate) fn pull(
    state: &State,
    base: &Repository,
    issue: &Issue,
    request: &PullRequest,
) -> Value {
    let url = format!("{}/pulls/{}", repository_url(state, base), issue.number);
    let html = format!("{}/pull/{}", html_url(base), issue.number);
    let mut shown = super::issue(state, base, issue);
    for key in OF_ISSUES {
        shown.as_object_mut().unwrap().remove(*key);
    }
    let head = request.head_repository.and_then(|id| state.repositories.get(&id));
    let owner = head.map(|head| head.owner).unwrap_or(issue.author);
    let commits = new_commits(state, request);
    let files = state.changes(Some(&request.base), &request.head);
    let more = json!({
        "node_id": node_id("PullRequest", issue.id),
        "url": url,
        "issue_url": format!("{}/issues/{}", repository_url(state, base), issue.number),
        "html_url": html,
        "diff_url": format!("{html}.diff"),
        "patch_url": format!("{html}.patch"),
        "commits_url": format!("{url}/commits"),
        "review_comments_url": format!("{url}/comments"),
        "statuses_url": format!("{}/statuses/{}", repository_url(state, base), request.head),
        "merged_at": null,
        "merge_commit_sha": null,
        "draft": false,
        "merged": false,
        "mergeable": true,
        "mergeable_state": "clean",
        "requested_reviewers": [],
        "requested_teams": [],
        "commits": commits.len(),
        "changed_files": files.len(),
        "_links": {},
        "head": {
            "label": request.head_label,
            "ref": request.head_branch,
            "sha": request.head,
            "user": user(state, owner),
            "repo": head.map(|head| repository(state, head)),
        },
        "base": {
            "label": format!("{}:{}", base.owner_login, request.base_branch),
            "ref": request.base_branch,
            "sha": request.base,
            "user": user(state, base.owner),
            "repo": repository(state, base),
        },
    });
    let fields = shown.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    for name in LINKS {
        let link = fields.get(&format!("{name}_url")).unwrap_or(&fields["url"]).clone();
        fields["_links"][*name] = json!({ "href": link });
    }
    fields["_links"]["self"] = json!({ "href": url });
    shown
}

/// The commits that a pull request brings, oldest first.
pub(crate) fn new_commits<'a>(state: &'a State, request: &'a PullRequest) -> Vec<&'a Commit> {
    let known = state.ancestors(&request.base);
    let own = state.ancestors(&request.head).into_iter().filter(|sha| !known.contains(sha));
    let mut commits: Vec<&Commit> = own.map(|sha| &state.commits[sha]).collect();
    commits.reverse();
    commits
}

fn pull_minimal(
    state: &State,
    base: &Repository,
    number: u64,
    request: &PullRequest,
) -> Option<Value> {
    let side = |branch: &str, sha: &str, repository: &Repository| {
        let url = repository_url(state, repository);
        json!({
            "ref": branch, "sha": sha,
            "repo": { "id": repository.id, "url": url, "name": repository.name },
        })
    };
    let head = state.repositories.get(&request.head_repository?)?;
    Some(json!({
        "id": base.issues[&number].id,
        "number": number,
        "url": format!("{}/pulls/{number}", repository_url(state, base)),
        "head": side(&request.head_branch, &request.head, head),
        "base": side(&request.base_branch, &request.base, base),
    }))
}

pub(crate) fn review(state: &State, base: &Repository, number: u64, review: &Review) -> Value {
    let html = format!("{}/pull/{number}#pullrequestreview-{}", html_url(base), review.id);
    let url = format!("{}/pulls/{number}", repository_url(state, base));
    json!({
        "id": review.id,
        "node_id": node_id("Review", review.id),
        "user": user(state, review.author),
        "body": "",
        "state": review.state,
        "commit_id": review.commit_id,
        "html_url": html,
        "pull_request_url": url,
        "author_association": association(state, base, review.author),
        "_links": { "html": { "href": html }, "pull_request": { "href": url } },
        "submitted_at": timestamp(review.at),
    })
}

pub(crate) fn commit(state: &State, repository: &Repository, commit: &Commit) -> Value {
    let url = format!("{}/commits/{}", repository_url(state, repository), commit.sha);
    let html = format!("{}/commit/{}", html_url(repository), commit.sha);
    let login = state.login(commit.author);
    let person = json!({
        "name": login,
        "email": format!("{login}@users.noreply.github.com"),
        "date": timestamp(commit.at),
    });
    let tree = hex(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{:?}", commit.tree).as_bytes(),
    )
    .as_ref());
    let parents = commit.parents.iter().map(|sha| {
        json!({ "sha": sha, "url": format!("{}/commits/{sha}", repository_url(state, repository)) })
    });
    json!({
        "sha": commit.sha,
        "node_id": format!("C_{}", commit.sha),
        "url": url,
        "html_url": html,
        "comments_url": format!("{url}/comments"),
        "commit": {
            "url": url.replace("/commits/", "/git/commits/"),
            "message": commit.message,
            "author": person,
            "committer": person,
            "tree": { "sha": tree, "url": format!("{}/git/trees/{tree}", repository_url(state, repository)) },
            "comment_count": 0,
        },
        "author": user(state, commit.author),
        "committer": user(state, commit.author),
        "parents": parents.collect::<Vec<Value>>(),
    })
}

pub(crate) fn file(
    state: &State,
    repository: &Repository,
    sha: &str,
    change: &(String, &str),
) -> Value {
    let (path, status) = change;
    let html = html_url(repository);
    json!({
        "sha": sha,
        "filename": path,
        "status": status,
        "additions": 1,
        "deletions": 0,
        "changes": 1,
        "blob_url": format!("{html}/blob/{sha}/{path}"),
        "raw_url": format!("{html}/raw/{sha}/{path}"),
        "contents_url": format!("{}/contents/{path}?ref={sha}", repository_url(state, repository)),
    })
}

pub(crate) fn check_run(state: &State, repository: &Repository, run: &CheckRun) -> Value {
    let url = format!("{}/check-runs/{}", repository_url(state, repository), run.id);
    let pulls =
        repository.issues.values().filter_map(|issue| Some((issue.number, issue.pull.as_ref()?)));
    let own = pulls
        .filter(|(_, pull)| pull.head == run.head && pull.head_repository == Some(repository.id));
    let own: Vec<Value> =
        own.filter_map(|(number, pull)| pull_minimal(state, repository, number, pull)).collect();
    let mut shown = json!({
        "id": run.id,
        "node_id": node_id("CheckRun", run.id),
        "head_sha": run.head,
        "url": url,
        "html_url": format!("{}/runs/{}", html_url(repository), run.id),
        "external_id": "",
        "details_url": format!("{}/runs/{}", html_url(repository), run.id),
        "conclusion": null,
        "started_at": null,
        "completed_at": null,
        "check_suite": { "id": run.app + 1 },
        "app": application(state, run.app),
        "pull_requests": own,
    });
    let output = run.fields.get("output");
    let said = |key: &str| output.and_then(|output| output.get(key)).cloned().unwrap_or_default();
    let annotations = said("annotations").as_array().map_or(0, Vec::len);
    let fields = shown.as_object_mut().unwrap();
    fields.extend(run.fields.clone());
    fields.remove("actions");
    fields.insert(
        "output".into(),
        json!({
            "title": said("title"),
            "summary": said("summary"),
            "text": said("text"),
            "annotations_count": annotations,
            "annotations_url": format!("{url}/annotations"),
        }),
    );
    shown
}

pub(crate) fn status(state: &State, repository: &Repository, status: &Status) -> Value {
    json!({
        "url": format!("{}/statuses/{}", repository_url(state, repository), status.sha),
        "avatar_url": user(state, status.creator)["avatar_url"],
        "id": status.id,
        "node_id": node_id("StatusContext", status.id),
        "state": status.state,
        "description": status.description,
        "target_url": status.target_url,
        "context": status.context,
        "created_at": timestamp(status.at),
        "updated_at": timestamp(status.at),
        "creator": user(state, status.creator),
    })
}
