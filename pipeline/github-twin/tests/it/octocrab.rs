//! With octocrab, which is the bot's client.

use dyno_github_twin::{Fault, Rule, Twin};
use octocrab::Octocrab;
use octocrab::models::issues::Comment;
use serde_json::json;

fn client(hub: &Twin, token: String) -> Octocrab {
    Octocrab::builder().base_uri(hub.url()).unwrap().personal_token(token).build().unwrap()
}

#[tokio::test]
async fn a_comment_is_created_patched_and_read() {
    let hub = Twin::start();
    let crab = client(&hub, hub.bot("dyno", 9000));
    hub.account("alice", 1001);
    let pull = hub.repository("acme/widget").pull("alice", "Faster parser");
    let issues = crab.issues("acme", "widget");
    let made = issues.create_comment(pull.number, "queued").await.unwrap();
    assert_eq!((made.user.login.as_str(), made.user.r#type.as_str()), ("dyno", "Bot"));
    let route = format!("/repos/acme/widget/issues/comments/{}", made.id);
    let patched: Comment = crab.patch(route, Some(&json!({ "body": "done" }))).await.unwrap();
    assert_eq!((patched.id, patched.body.as_deref()), (made.id, Some("done")));
    assert_eq!(issues.get_comment(made.id).await.unwrap().body.as_deref(), Some("done"));
    let shown = "#1 Faster parser (open, by alice)\n\ndyno:\n    done\n";
    assert_eq!(hub.conversation(&pull), shown);
    hub.finish();
}

/// Its own `update_comment` sends POST, which GitHub's description does not have.
#[tokio::test]
async fn octocrabs_update_comment_is_a_violation() {
    let hub = Twin::start();
    let crab = client(&hub, hub.bot("dyno", 9000));
    let pull = hub.repository("acme/widget").issue("dyno", "Slow");
    let comment = hub.comment_as("dyno", &pull, "queued");
    let issues = crab.issues("acme", "widget");
    issues.update_comment(comment.into(), "done").await.unwrap_err();
    let expected = format!(
        "POST /repos/acme/widget/issues/comments/{comment}: unknown method: GitHub has DELETE, \
         GET, PATCH"
    );
    assert_eq!(hub.take_violations(), [expected]);
    assert!(hub.conversation(&pull).ends_with("dyno:\n    queued\n"));
}

#[tokio::test]
async fn pages_are_followed_to_the_last() {
    let hub = Twin::start();
    let crab = client(&hub, hub.account("alice", 1001));
    let pull = hub.repository("acme/widget").pull("alice", "Faster parser");
    for n in 0..250 {
        hub.comment_as("alice", &pull, &format!("comment {n}"));
    }
    let issues = crab.issues("acme", "widget");
    let first = issues.list_comments(pull.number).per_page(100).send().await.unwrap();
    assert_eq!((first.items.len(), first.number_of_pages()), (100, Some(3)));
    let all = crab.all_pages(first).await.unwrap();
    let bodies: Vec<&str> = all.iter().filter_map(|comment| comment.body.as_deref()).collect();
    let expected: Vec<String> = (0..250).map(|n| format!("comment {n}")).collect();
    assert_eq!(bodies, expected);
    let paths: Vec<String> = hub.requests().into_iter().map(|request| request.path).collect();
    assert!(paths[1].starts_with("/repositories/"), "{paths:?}");
    assert_eq!(paths.len(), 3);
}

#[tokio::test]
async fn a_reply_lost_after_the_write_leaves_exactly_one_comment() {
    let hub = Twin::start();
    let crab = client(&hub, hub.bot("dyno", 9000));
    let pull = hub.repository("acme/widget").issue("dyno", "Slow");
    hub.fault(Rule::new("POST", "/repos/*/issues/*/comments", Fault::ReplyLost));
    let issues = crab.issues("acme", "widget");
    issues.create_comment(pull.number, "verdict").await.unwrap_err();
    assert_eq!(hub.conversation(&pull), "#1 Slow (open, by dyno)\n\ndyno:\n    verdict\n");
    assert_eq!(issues.list_comments(pull.number).send().await.unwrap().items.len(), 1);
    let posts = hub.requests().into_iter().filter(|request| request.method == "POST");
    assert_eq!(posts.map(|request| request.status).collect::<Vec<_>>(), [None]);
}

/// What octocrab parses of the larger replies: a pull request, commits, a permission.
#[tokio::test]
async fn octocrab_parses_what_the_twin_says() {
    let hub = Twin::start();
    let crab = client(&hub, hub.account("alice", 1001));
    let repository = hub.repository("acme/widget").permission("alice", "write");
    let pull = repository.fork("alice").pull("alice", "Faster parser");
    let shown = crab.pulls("acme", "widget").get(pull.number).await.unwrap();
    assert_eq!(shown.head.sha, hub.head(&pull));
    assert_eq!(shown.head.repo.unwrap().full_name.as_deref(), Some("alice/widget"));
    let commit = crab.commits("acme", "widget").get(hub.head(&pull)).await.unwrap();
    assert_eq!(commit.commit.message, "Faster parser");
    let user = crab.current().user().await.unwrap();
    assert_eq!((user.login.as_str(), user.id.0), ("alice", 1001));
    let file = crab.repos("acme", "widget").get_content().path("README.md").send().await.unwrap();
    assert_eq!(file.items[0].decoded_content().as_deref(), Some("acme/widget"));
    hub.finish();
}
