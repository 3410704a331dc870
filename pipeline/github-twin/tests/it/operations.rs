//! What the operations do that the other files do not touch.

use dyno_github_twin::Twin;
use serde_json::{Value, json};

use crate::client::{get, send};

const REPOSITORY: &str = "/repos/acme/widget";

#[tokio::test]
async fn a_reaction_is_made_once_and_taken_back() {
    let hub = Twin::start();
    let (dyno, alice) = (hub.bot("dyno", 9000), hub.account("alice", 1001));
    let pull = hub.repository("acme/widget").pull("alice", "Faster parser");
    let comment = hub.comment_as("alice", &pull, "@dyno run\n\nplease");
    let target = format!("{REPOSITORY}/issues/comments/{comment}/reactions");
    let eyes = json!({ "content": "eyes" });
    let made = send(&hub, &dyno, "POST", &target, eyes.clone()).await;
    let again = send(&hub, &dyno, "POST", &target, eyes).await;
    assert_eq!((made.status, again.status), (201, 200));
    assert_eq!(made.body["id"], again.body["id"]);
    send(&hub, &alice, "POST", &target, json!({ "content": "+1" })).await;
    let shown = "#1 Faster parser (open, by alice)\n\nalice:\n    @dyno run\n\n    please\n  👀 dyno\n  👍 alice\n";
    assert_eq!(hub.conversation(&pull), shown);
    let list = get(&hub, &dyno, &format!("{target}?content=eyes")).await.body;
    assert_eq!(list.as_array().unwrap().len(), 1);
    let own = format!("{target}/{}", made.body["id"]);
    assert_eq!(send(&hub, &alice, "DELETE", &own, Value::Null).await.status, 404);
    assert_eq!(send(&hub, &dyno, "DELETE", &own, Value::Null).await.status, 204);
    assert!(!hub.conversation(&pull).contains('👀'));
    hub.finish();
}

#[tokio::test]
async fn labels_are_added_made_and_taken_away() {
    let hub = Twin::start();
    let dyno = hub.bot("dyno", 9000);
    let issue = hub.repository("acme/widget").permission("dyno", "write").issue("dyno", "Slow");
    let target = format!("{REPOSITORY}/issues/1/labels");
    for labels in [json!(["perf: worse", "S-waiting"]), json!(["S-waiting"])] {
        let answer = send(&hub, &dyno, "POST", &target, json!({ "labels": labels })).await;
        assert_eq!(answer.body.as_array().unwrap().len(), 2);
    }
    assert!(hub.conversation(&issue).contains("labels: perf: worse, S-waiting\n"));
    let own = format!("{target}/perf:%20worse");
    assert_eq!(send(&hub, &dyno, "DELETE", &own, Value::Null).await.status, 200);
    assert_eq!(send(&hub, &dyno, "DELETE", &own, Value::Null).await.status, 404);
    assert_eq!(get(&hub, &dyno, &target).await.body[0]["name"], "S-waiting");
    let target = format!("{REPOSITORY}/labels");
    for (name, status) in [("perf: better", 201), ("perf: better", 422), ("S-waiting", 422)] {
        let body = json!({ "name": name, "color": "00ff00" });
        assert_eq!(send(&hub, &dyno, "POST", &target, body).await.status, status, "{name}");
    }
    hub.finish();
}

#[tokio::test]
async fn a_comment_has_its_bounds_and_may_be_deleted() {
    let hub = Twin::start();
    let dyno = hub.bot("dyno", 9000);
    let issue = hub.repository("acme/widget").issue("dyno", "Slow");
    let target = format!("{REPOSITORY}/issues/1/comments");
    // A character counts once, whatever its bytes.
    let table = [("é".repeat(65_536), 201), ("a".repeat(65_537), 422), (" ".into(), 422)];
    for (body, status) in table {
        let answer = send(&hub, &dyno, "POST", &target, json!({ "body": body })).await;
        assert_eq!(answer.status, status, "{} characters", body.chars().count());
    }
    let long = send(&hub, &dyno, "POST", &target, json!({ "body": "a".repeat(65_537) })).await;
    let message = "Body is too long (maximum is 65536 characters)";
    assert_eq!(long.body["errors"][0]["message"], message);
    let comment = get(&hub, &dyno, &target).await.body[0]["url"].as_str().unwrap().to_string();
    assert_eq!(send(&hub, &dyno, "DELETE", &comment, Value::Null).await.status, 204);
    assert_eq!(get(&hub, &dyno, &comment).await.status, 404);
    assert_eq!(hub.conversation(&issue), "#1 Slow (open, by dyno)\n");
    let nowhere = format!("{REPOSITORY}/issues/2/comments");
    assert_eq!(send(&hub, &dyno, "POST", &nowhere, json!({ "body": "a" })).await.status, 404);
    hub.finish();
}

#[tokio::test]
async fn a_pull_request_has_a_head_that_moves_and_reviews_of_a_commit() {
    let hub = Twin::start();
    let alice = hub.account("alice", 1001);
    hub.account("bob", 1002);
    let repository = hub.repository("acme/widget").permission("bob", "write");
    let pull = repository.fork("alice").pull("alice", "Faster parser");
    let first = hub.head(&pull);
    hub.review_as("bob", &pull, "APPROVED", &first);
    let second = hub.push(&pull, "Faster still");
    assert_eq!(hub.head(&pull), second);
    assert!(hub.conversation(&pull).contains("review by bob: APPROVED of an older commit\n"));
    let target = format!("{REPOSITORY}/pulls/{}", pull.number);
    let shown = get(&hub, &alice, &target).await.body;
    assert_eq!((&shown["head"]["sha"], &shown["commits"]), (&json!(second), &json!(2)));
    assert_eq!(shown["head"]["repo"]["fork"], true);
    assert_eq!(shown["base"]["sha"], repository.tip("main"));
    let reviews = get(&hub, &alice, &format!("{target}/reviews")).await.body;
    assert_eq!(
        (&reviews[0]["commit_id"], &reviews[0]["user"]["id"]),
        (&json!(first), &json!(1002))
    );
    let commits = get(&hub, &alice, &format!("{target}/commits")).await.body;
    let shas: Vec<&str> =
        commits.as_array().unwrap().iter().filter_map(|it| it["sha"].as_str()).collect();
    assert_eq!(shas, [&first, &second]);
    let files = get(&hub, &alice, &format!("{target}/files")).await.body;
    assert_eq!((files.as_array().unwrap().len(), &files[0]["status"]), (1, &json!("added")));
    // An issue is no pull request.
    let issue = repository.issue("alice", "Slow");
    let target = format!("{REPOSITORY}/pulls/{}", issue.number);
    assert_eq!(get(&hub, &alice, &target).await.status, 404);
    hub.close(&pull);
    assert!(hub.conversation(&pull).starts_with("#1 Faster parser (closed, by alice)\n"));
    hub.finish();
}

#[tokio::test]
async fn a_commit_is_found_by_digest_beginning_and_branch() {
    let hub = Twin::start();
    let alice = hub.account("alice", 1001);
    let repository = hub.repository("acme/widget");
    let pull = repository.fork("alice").pull("alice", "Faster parser");
    let head = hub.head(&pull);
    let sha = "ab".repeat(20);
    let real = repository.pull_of("alice", "main", "A pull request whose head moves");
    repository.git_commit("alice", "main", &sha, "As git has it");
    assert_eq!(hub.head(&real), sha);
    let tip = repository.tip("main");
    // A fork's commits are found in the repository that it comes from, as on GitHub.
    let table = [
        (head.as_str(), Some(&head)),
        (&head[..7], Some(&head)),
        ("main", Some(&tip)),
        ("heads%2Fmain", Some(&tip)),
        (sha.as_str(), Some(&sha)),
        ("0000000", None),
        ("nowhere", None),
    ];
    for (name, expected) in table {
        let answer = get(&hub, &alice, &format!("{REPOSITORY}/commits/{name}")).await;
        assert_eq!(answer.body["sha"].as_str(), expected.map(String::as_str), "{name}");
        assert_eq!(answer.status, if expected.is_some() { 200 } else { 422 }, "{name}");
    }
    // Nothing of another network is.
    hub.repository("acme/other");
    let answer = get(&hub, &alice, &format!("/repos/acme/other/commits/{head}")).await;
    assert_eq!(answer.status, 422);
    hub.finish();
}

#[tokio::test]
async fn two_commits_are_compared() {
    let hub = Twin::start();
    let alice = hub.account("alice", 1001);
    let repository = hub.repository("acme/widget");
    let base = repository.tip("main");
    let fork = repository.fork("alice");
    let topic = fork.commit("alice", "topic", "One", &[("a.rs", "1")]);
    fork.commit("alice", "topic", "Two", &[("README.md", "2")]);
    let table = [
        ("main...main".to_string(), "identical", 0, 0),
        ("main...alice:topic".to_string(), "ahead", 2, 0),
        (format!("{topic}...{base}"), "behind", 0, 1),
    ];
    let compare = |name: &str| format!("{REPOSITORY}/compare/{name}");
    for (name, status, ahead, behind) in table {
        let body = get(&hub, &alice, &compare(&name)).await.body;
        let seen = (&body["status"], &body["ahead_by"], &body["behind_by"]);
        assert_eq!(seen, (&json!(status), &json!(ahead), &json!(behind)), "{name}");
        assert_eq!(body["merge_base_commit"]["sha"], base, "{name}");
    }
    let body = get(&hub, &alice, &compare("main...alice:topic")).await.body;
    let files = body["files"].as_array().unwrap().iter();
    let files: Vec<_> = files.map(|file| (&file["filename"], &file["status"])).collect();
    let (added, modified) = (json!("added"), json!("modified"));
    assert_eq!(files, [(&json!("README.md"), &modified), (&json!("a.rs"), &added)]);
    hub.repository("acme/widget").commit("alice", "main", "Three", &[]);
    let body = get(&hub, &alice, &compare("main...alice:topic")).await.body;
    assert_eq!(body["status"], "diverged");
    assert_eq!(get(&hub, &alice, &compare("main...nowhere")).await.status, 404);
    hub.finish();
}

#[tokio::test]
async fn a_file_is_read_at_a_commit() {
    let hub = Twin::start();
    let alice = hub.account("alice", 1001);
    let text = "suites = [\"lua\"]\n# a line that is longer than sixty characters, as GitHub breaks them\n";
    let repository = hub.repository("acme/widget").file(".github/dyno.toml", text);
    repository.commit("alice", "topic", "Mine", &[(".github/dyno.toml", "suites = []")]);
    let table = [
        ("", 200, text),
        ("?ref=main", 200, text),
        ("?ref=topic", 200, "suites = []"),
        ("?ref=nowhere", 404, ""),
    ];
    for (query, status, expected) in table {
        let target = format!("{REPOSITORY}/contents/.github/dyno.toml{query}");
        let answer = get(&hub, &alice, &target).await;
        assert_eq!(answer.status, status, "{query}");
        let content = answer.body["content"].as_str().unwrap_or_default().replace('\n', "");
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, content);
        assert_eq!(String::from_utf8(bytes.unwrap()).unwrap(), expected, "{query}");
    }
    let target = format!("{REPOSITORY}/contents/nowhere.toml");
    assert_eq!(get(&hub, &alice, &target).await.status, 404);
    hub.finish();
}

#[tokio::test]
async fn statuses_of_a_commit_are_told_together() {
    let hub = Twin::start();
    let dyno = hub.bot("dyno", 9000);
    let pull = hub.repository("acme/widget").permission("dyno", "write").pull("dyno", "Faster");
    let head = hub.head(&pull);
    let list = format!("{REPOSITORY}/commits/{head}/status");
    let mut seen = Vec::new();
    for (context, state) in [("dyno", "pending"), ("dyno", "success"), ("ci", "failure")] {
        let body = json!({ "context": context, "state": state, "description": "so" });
        let target = format!("{REPOSITORY}/statuses/{head}");
        assert_eq!(send(&hub, &dyno, "POST", &target, body).await.status, 201);
        seen.push(get(&hub, &dyno, &list).await.body["state"].as_str().unwrap().to_string());
    }
    assert_eq!(seen, ["pending", "success", "failure"]);
    let shown = hub.conversation(&pull);
    assert!(shown.ends_with("status dyno by dyno: success: so\nstatus ci by dyno: failure: so\n"));
    let all = get(&hub, &dyno, &format!("{list}es")).await.body;
    assert_eq!(all.as_array().unwrap().len(), 3);
    hub.finish();
}
