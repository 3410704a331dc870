//! Traffic that was recorded from GitHub: the twin answers each request with the same status, the
//! same links, and a body of the same shape.

use std::path::Path;

use dyno_github_twin::Twin;
use serde_json::Value;

use crate::client::{Answer, link, send};

/// Keys of the recorded replies that the twin leaves out: GitHub's schema does not require them, and
/// no bot reads them.
const LEFT_OUT: &[&str] = &[
    "allow_auto_merge",
    "allow_forking",
    "allow_merge_commit",
    "allow_rebase_merge",
    "allow_squash_merge",
    "allow_update_branch",
    "delete_branch_on_merge",
    "has_downloads",
    "is_template",
    "organization",
    "permissions",
    "temp_clone_token",
    "use_squash_pr_title_as_default",
    "web_commit_signoff_required",
];

fn scenario(name: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/recorded");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Where `ours` has another shape than what was recorded; null may stand for anything.
fn differences(path: &str, recorded: &Value, ours: &Value, found: &mut Vec<String>) {
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) => {
            for (key, value) in recorded {
                let path = format!("{path}/{key}");
                match ours.get(key) {
                    Some(own) => differences(&path, value, own, found),
                    None if LEFT_OUT.contains(&key.as_str()) => {}
                    None => found.push(format!("{path} is missing")),
                }
            }
        }
        (Value::Array(recorded), Value::Array(ours)) => {
            // How many words a list of words has is the state's, not the shape's.
            let are_words = recorded.iter().all(Value::is_string);
            if !are_words && recorded.len() != ours.len() {
                found.push(format!("{path}: {} items for {}", ours.len(), recorded.len()));
            }
            for (recorded, ours) in recorded.iter().zip(ours) {
                differences(path, recorded, ours, found);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (recorded, ours) if kind(recorded) != kind(ours) => {
            found.push(format!("{path}: {} for {}", kind(ours), kind(recorded)));
        }
        _ => {}
    }
}

/// The page and relation of each link.
fn pages(header: &str) -> Vec<(String, String)> {
    let links = header.split(", ").filter(|link| !link.is_empty());
    let part = |link: &str, mark: &str| {
        let rest = link.split(mark).nth(1).unwrap_or_default();
        rest.chars().take_while(|c| c.is_alphanumeric()).collect::<String>()
    };
    links.map(|link| (part(link, "&page="), part(link, "rel=\""))).collect()
}

fn compare(recorded: &Value, answer: &Answer) {
    let what = format!("{} {}", recorded["method"], recorded["path"]);
    assert_eq!(recorded["status"], answer.status, "{what}: {}", answer.body);
    let mut found = Vec::new();
    if recorded["response"] != "" {
        differences("", &recorded["response"], &answer.body, &mut found);
    }
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
    let header = recorded["headers"]["link"].as_str().unwrap_or_default();
    assert_eq!(pages(answer.header("link")), pages(header), "{what}");
    for name in ["content-type", "x-github-media-type", "x-ratelimit-limit"] {
        let recorded = recorded["headers"][name].as_str().unwrap_or_default();
        assert_eq!(answer.header(name), recorded, "{what}: {name}");
    }
    for name in ["etag", "cache-control", "last-modified", "location"] {
        let is_there = !answer.header(name).is_empty();
        assert_eq!(is_there, recorded["headers"].get(name).is_some(), "{what}: {name}");
    }
}

/// Two accounts, the first of which owns what the recordings are about.
fn hub(repository: &str) -> (Twin, [String; 2]) {
    let hub = Twin::start();
    let tokens = [
        hub.account("octokit-fixture-user-a", 31_898_046),
        hub.account("octokit-fixture-user-b", 31_898_072),
    ];
    hub.repository(repository).permission("octokit-fixture-user-a", "admin");
    (hub, tokens)
}

async fn replay(hub: &Twin, tokens: &[String; 2], recorded: &Value, path: &str) -> Answer {
    let authorization = recorded["reqheaders"]["authorization"].as_str().unwrap_or_default();
    let token = &tokens[usize::from(authorization.ends_with('2'))];
    let method = recorded["method"].as_str().unwrap().to_uppercase();
    let body = Some(&recorded["body"]).filter(|body| body.is_object()).cloned();
    send(hub, token, &method, path, body.unwrap_or_default()).await
}

#[tokio::test]
async fn recorded_requests_get_a_reply_of_the_same_shape() {
    for name in ["create-status", "errors", "get-repository"] {
        let repository = match name {
            "get-repository" => "octokit-fixture-org/hello-world".to_string(),
            _ => format!("octokit-fixture-org/{name}"),
        };
        let (hub, tokens) = hub(&repository);
        let sha = format!("{:040}", 1);
        hub.repository(&repository).git_commit("octokit-fixture-user-a", "main", &sha, "Initial");
        for recorded in scenario(name) {
            let path = recorded["path"].as_str().unwrap().to_string();
            compare(&recorded, &replay(&hub, &tokens, &recorded, &path).await);
        }
        hub.finish();
    }
}

#[tokio::test]
async fn recorded_pages_have_the_same_links() {
    let (hub, tokens) = hub("octokit-fixture-org/paginate-issues");
    for n in 1..=13 {
        hub.repository("octokit-fixture-org/paginate-issues")
            .issue("octokit-fixture-user-a", &format!("Test issue {n}"));
    }
    let scenario = scenario("paginate-issues");
    let mut next = scenario[0]["path"].as_str().map(str::to_string);
    for recorded in &scenario {
        let answer = replay(&hub, &tokens, recorded, &next.unwrap()).await;
        compare(recorded, &answer);
        next = link(&answer, "next");
    }
    assert_eq!(next, None);
    hub.finish();
}

#[tokio::test]
async fn a_recorded_invitation_is_accepted_and_taken_back() {
    let (hub, tokens) = hub("octokit-fixture-org/add-and-remove-repository-collaborator");
    let mut invitation = String::new();
    for recorded in scenario("add-and-remove-repository-collaborator") {
        let path = recorded["path"]
            .as_str()
            .unwrap()
            .replace("invitations/1000", &format!("invitations/{invitation}"));
        let answer = replay(&hub, &tokens, &recorded, &path).await;
        compare(&recorded, &answer);
        if answer.status == 201 {
            invitation = answer.body["id"].to_string();
        }
    }
    hub.finish();
}
