//! What the client refuses, and what it asks only once.

use std::sync::Mutex;

use dyno_bot::configuration::{Level, RepositoryName, is_safe};
use dyno_bot::github::{Access, Answer, Call, Etags, GitHub, Transport};
use dyno_bot::outbox::{HubTrouble, Place};
use dyno_bot::permission::Account;
use dyno_queue::clock::SystemClock;
use secrecy::SecretString;

/// Replies that are made up, in their order, and what they were asked for.
#[derive(Default)]
struct Script {
    replies: Mutex<Vec<Answer>>,
    calls: Mutex<Vec<Call>>,
}

impl Transport for &Script {
    async fn send(&self, call: Call) -> Result<Answer, String> {
        self.calls.lock().unwrap().push(call);
        Ok(self.replies.lock().unwrap().remove(0))
    }
}

fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Answer { status, headers: headers.collect(), body: body.into() }
}

fn github<'a>(script: &'a Script, folder: &tempfile::TempDir) -> GitHub<&'a Script, SystemClock> {
    let access = Access::Token(SecretString::from("s3cret"));
    let etags = Etags::open(folder.path().join("etags"));
    let api = "https://git.example/api/v3/";
    GitHub::new(api, (access, 1), etags, script, SystemClock::default()).unwrap()
}

fn repository() -> RepositoryName {
    RepositoryName::new("acme/widget").unwrap()
}

#[test]
fn a_token_goes_nowhere_by_plain_http() {
    for (api, expected) in [
        ("https://api.github.com", true),
        ("https://git.example/api/v3", true),
        ("http://127.0.0.1:8080", true),
        ("http://localhost:1", true),
        ("http://[::1]:1", true),
        ("http://api.github.com", false),
        ("http://127.0.0.1.example", false),
        ("http://localhost.example", false),
        ("https://user:password@git.example", false),
        ("ftp://127.0.0.1", false),
        ("api.github.com", false),
    ] {
        assert_eq!(is_safe(api), expected, "{api}");
    }
}

#[tokio::test]
async fn a_name_stays_in_its_place_of_the_path() {
    let (script, folder) = (Script::default(), tempfile::tempdir().unwrap());
    let github = github(&script, &folder);
    for login in ["..", ".", ""] {
        let account = Account { id: 1, login: login.into() };
        let refused = github.level(&repository(), &account).await.unwrap_err();
        assert!(matches!(refused, HubTrouble::Refused(_)), "{refused}");
    }
    assert_eq!(script.calls.lock().unwrap().len(), 0, "it is not even asked for");
    let body = r#"{"permission":"admin","role_name":"admin","user":{"id":1,"login":"x"}}"#;
    for login in ["../../user", "a?b=c#d", "%2e%2e", "dependabot[bot]"] {
        script.replies.lock().unwrap().push(reply(200, &[], body));
        let account = Account { id: 1, login: login.into() };
        assert_eq!(github.level(&repository(), &account).await.unwrap(), Level::Admin);
        let url = script.calls.lock().unwrap().last().unwrap().url.to_string();
        let inner = url
            .strip_prefix("https://git.example/api/v3/repos/acme/widget/collaborators/")
            .and_then(|rest| rest.strip_suffix("/permission"));
        assert!(inner.is_some_and(|inner| !inner.contains(['/', '?', '#'])), "{url}");
    }
    // The name is another account's by now.
    script.replies.lock().unwrap().push(reply(200, &[], body));
    let account = Account { id: 2, login: "x".into() };
    assert_eq!(github.level(&repository(), &account).await.unwrap(), Level::None);
}

#[tokio::test]
async fn the_next_page_is_of_the_same_host() {
    let (script, folder) = (Script::default(), tempfile::tempdir().unwrap());
    let github = github(&script, &folder);
    let place = Place { repository: repository(), number: 1 };
    let next = |host: &str| format!("<{host}/repositories/1/pulls/1/files?page=2>; rel=\"next\"");
    for host in ["https://evil.example", "http://git.example", "https://git.example:444"] {
        let first = reply(200, &[("link", &next(host))], r#"[{"filename":"a"}]"#);
        script.replies.lock().unwrap().push(first);
        let refused = github.files(&place).await.unwrap_err();
        assert!(refused.to_string().contains("the next page is elsewhere"), "{refused}");
    }
    let first = reply(200, &[("link", &next("https://git.example"))], r#"[{"filename":"a"}]"#);
    script.replies.lock().unwrap().extend([first, reply(200, &[], r#"[{"filename":"b"}]"#)]);
    assert_eq!(github.files(&place).await.unwrap(), ["a", "b"]);
    assert_eq!(script.calls.lock().unwrap().len(), 5);
}

/// An ETag outlives the process; a reply that is the same is the one that was kept.
#[tokio::test]
async fn what_is_known_is_asked_for_with_its_etag() {
    let (script, folder) = (Script::default(), tempfile::tempdir().unwrap());
    let place = Place { repository: repository(), number: 1 };
    let first = reply(200, &[("etag", "W/\"1\"")], r#"[{"filename":"a"}]"#);
    script.replies.lock().unwrap().extend([first, reply(304, &[], "")]);
    for _ in 0..2 {
        assert_eq!(github(&script, &folder).files(&place).await.unwrap(), ["a"]);
    }
    let etags: Vec<Option<String>> =
        script.calls.lock().unwrap().iter().map(|call| call.etag.clone()).collect();
    assert_eq!(etags, [None, Some("W/\"1\"".to_string())]);
    // What is damaged on the disk is asked for anew.
    for entry in std::fs::read_dir(folder.path().join("etags")).unwrap() {
        std::fs::write(entry.unwrap().path(), "{").unwrap();
    }
    script.replies.lock().unwrap().push(reply(200, &[], "[]"));
    assert_eq!(github(&script, &folder).files(&place).await.unwrap(), [] as [String; 0]);
    assert_eq!(script.calls.lock().unwrap().last().unwrap().etag, None);
}

/// No message and no file has the token.
#[tokio::test]
async fn a_token_is_in_no_message() {
    let (script, folder) = (Script::default(), tempfile::tempdir().unwrap());
    let github = github(&script, &folder);
    let place = Place { repository: repository(), number: 1 };
    for (status, body) in [(200, "{"), (200, r#"[{"filename":1}]"#), (401, "{}"), (403, "{}")] {
        script.replies.lock().unwrap().push(reply(status, &[], body));
        let error = github.files(&place).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
    assert!(!format!("{:?}", script.calls.lock().unwrap()).contains("s3cret"));
}
