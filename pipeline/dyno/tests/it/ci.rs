//! The workflow files of docs/ci: their shell steps are carried out in a local repository, and the
//! comment is posted to a forge on loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::skip;
use crate::world::{BUILD, Told, World, embedded, git};

fn workflows() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ci")
}

/// The shell steps of a workflow file, in order.
fn steps(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workflows().join(file)).unwrap();
    if file == "github.yml" {
        return text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("run: "))
            .map(String::from)
            .collect();
    }
    let section = |name: &str| {
        let after = text.split(&format!("\n  {name}:\n")).nth(1).unwrap();
        let lines = after.lines().take_while(|line| line.starts_with("    ") || line.is_empty());
        let lines = lines.filter(|line| !line.trim().starts_with('#') && line.trim() != "- |");
        lines.map(|line| format!("{}\n", line.trim().trim_start_matches("- "))).collect::<String>()
    };
    vec![section("script"), section("after_script")]
}

/// How each comment came, and the comment.
type Comments = Vec<(String, Value)>;

/// A forge on loopback: its address, the comments that it has, and how each came.
fn forge() -> (String, Arc<Mutex<Comments>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let comments =
        Arc::new(Mutex::new(vec![("begin".to_string(), json!({"id": 1, "body": "hello"}))]));
    let kept = Arc::clone(&comments);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (Vec::new(), 0);
            for line in reader.by_ref().lines().map_while(Result::ok).take_while(|l| !l.is_empty())
            {
                if let Some(n) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = n.parse().unwrap();
                }
                head.push(line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let first = head[0].split(" HTTP").next().unwrap().to_string();
            let mut comments = kept.lock().unwrap();
            let is_known = head.iter().any(|line| line.ends_with("secret"));
            let reply = match first.split(' ').next().unwrap() {
                _ if !is_known => Value::Null,
                "GET" => comments.iter().map(|(_, comment)| comment.clone()).collect(),
                "POST" => {
                    let mut comment: Value = serde_json::from_slice(&body).unwrap();
                    comment["id"] = (comments.len() + 1).into();
                    comments.push((first, comment.clone()));
                    comment
                }
                _ => {
                    let id: usize = first.rsplit('/').next().unwrap().parse().unwrap();
                    let comment: Value = serde_json::from_slice(&body).unwrap();
                    comments[id - 1].1["body"] = comment["body"].clone();
                    comments[id - 1].0 = first;
                    comment
                }
            };
            let status = if is_known { "200 OK" } else { "401 Unauthorized" };
            let reply = reply.to_string();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                reply.len()
            );
            drop(stream.write_all((head + &reply).as_bytes()));
        }
    });
    (address, comments)
}

fn shell(world: &World, step: &str, variables: &[(&str, &str)]) -> Told {
    let mut shell = Command::new("sh");
    let dyno = world.command(&[]);
    shell.env_clear().envs(dyno.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("DYNO", env!("CARGO_BIN_EXE_dyno")).envs(variables.iter().copied());
    shell.current_dir(world.path().join("target")).args(["-ec", step]);
    world.told(shell)
}

#[test]
fn workflows_measure_and_comment() {
    if !embedded() {
        return;
    }
    if !["curl", "jq"].iter().all(|tool| Command::new(tool).arg("--version").output().is_ok()) {
        skip("curl", "curl and jq post the comment");
        return;
    }
    let world = World::new();
    let target = world.path().join("target");
    // A branch that is larger, and a main that went on since.
    world.commit("base", BUILD, &format!("print hello\n{}", "\n".repeat(1000)));
    git(&target, &["checkout", "-q", "-b", "change"]);
    world.commit("larger", BUILD, &format!("print hello\n{}", "\n".repeat(2000)));
    git(&target, &["checkout", "-q", "main"]);
    world.commit("later", BUILD, &format!("print hello\n{}", "\n".repeat(9000)));
    git(&target, &["checkout", "-q", "change"]);
    std::fs::create_dir_all(target.join("docs/ci")).unwrap();
    for script in ["dyno.sh", "post-comment.sh"] {
        std::fs::copy(workflows().join(script), target.join("docs/ci").join(script)).unwrap();
    }
    for (file, created, updated) in [
        ("github.yml", "POST /repos/a/b/issues/7/comments", "PATCH /repos/a/b/issues/comments/2"),
        (
            "gitlab.yml",
            "POST /projects/a/b/merge_requests/7/notes",
            "PUT /projects/a/b/merge_requests/7/notes/2",
        ),
    ] {
        let (api, comments) = forge();
        let variables = [
            ("DYNO_SUITE", "made"),
            ("DYNO_ARGUMENTS", "--rounds 2"),
            ("DYNO_MARKER", "made on arm"),
            ("DYNO_REPORT_URL", "https://example.org/7"),
            ("BASE", "main"),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
            ("API", &api),
            ("CI_API_V4_URL", &api),
            ("REPOSITORY", "a/b"),
            ("CI_MERGE_REQUEST_PROJECT_ID", "a/b"),
            ("NUMBER", "7"),
            ("CI_MERGE_REQUEST_IID", "7"),
            ("TOKEN", "secret"),
            ("DYNO_TOKEN", "secret"),
        ];
        git(&target, &["update-ref", "refs/remotes/origin/main", "main"]);
        let [measure, comment] = &steps(file)[..] else { panic!("{file} has other steps") };
        let told = shell(&world, measure, &variables);
        assert_eq!(told.code, Some(1), "{file}: {told:?}");
        assert!(target.join("out/report.html").exists());
        for expected in [created, updated] {
            let told = shell(&world, comment, &variables);
            assert_eq!(told.code, Some(0), "{file}: {told:?}");
            let comments = comments.lock().unwrap();
            let (how, comment) = comments.last().unwrap();
            assert_eq!((comments.len(), how.as_str()), (2, expected), "{file}");
            let body = comment["body"].as_str().unwrap();
            assert!(body.starts_with("<!-- dyno report: made_on_arm -->\n"), "{body}");
            assert!(body.contains("[Full report](https://example.org/7)"), "{body}");
            assert!(body.contains("Regressed"), "{body}");
        }
        let wrong = [&variables[..], &[("TOKEN", "x"), ("DYNO_TOKEN", "x")]].concat();
        assert_ne!(shell(&world, comment, &wrong).code, Some(0), "{file}");
    }
}
