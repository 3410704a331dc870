//! Which version of the API an engine and dyno both speak.
//!
//! An engine refuses paths of the API that name a version older or newer than what it speaks, even
//! the question which it is. `/_ping` needs none (Docker Engine API, "Versioning").

use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use dyno_base::error::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Docker Engine 20.10; Podman 4 speaks it too.
const OLDEST: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };

/// How long an engine may take to say what it speaks, and how much it may say.
const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER_BYTES: u64 = 64 << 10;

/// Connects to the engine at `socket` in the newest version that both speak; no answer may take
/// longer than `patience_s`.
pub(super) async fn connect(socket: &str, patience_s: u64) -> Result<Docker> {
    let failed = |what: String| Error::host(format!("{socket}: {what}"));
    let answer = match tokio::time::timeout(PATIENCE, ping(socket)).await {
        Ok(answer) => answer.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
    };
    let newest = speaks(&answer).ok_or_else(|| failed("it says no API version".into()))?;
    if newest < OLDEST {
        return Err(failed(format!("the engine is too old: it speaks API {newest}"))
            .hint("Docker Engine 20.10 or Podman 4 (API 1.41) at least"));
    }
    let version = if newest < *API_DEFAULT_VERSION { newest } else { *API_DEFAULT_VERSION };
    let docker = Docker::connect_with_unix(socket, patience_s, &version);
    let docker = docker.map_err(|error| failed(dyno_base::error::chain(&error)))?;
    match docker.version().await {
        Ok(_) => Ok(docker),
        // It says which.
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 400, message }) => {
            Err(failed(format!("the engine does not speak API {version}: {message}"))
                .hint("a newer dyno may speak to it"))
        }
        Err(error) => Err(failed(dyno_base::error::chain(&error))),
    }
}

/// The head of what the engine answers to a ping.
async fn ping(socket: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n").await?;
    let (mut answer, mut stream) = (Vec::new(), stream.take(ANSWER_BYTES));
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The newest version that the engine speaks, by the head of its answer.
fn speaks(answer: &str) -> Option<ClientVersion> {
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let (major, minor) = value.trim().split_once('.')?;
        let version = ClientVersion {
            major_version: major.parse().ok()?,
            minor_version: minor.parse().ok()?,
        };
        name.eq_ignore_ascii_case("api-version").then_some(version)
    };
    answer.lines().find_map(header)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex};

    use dyno_host::scope::MachineScope;

    use super::*;

    /// What a made-up engine speaks, and where it keeps images.
    struct Spoken {
        oldest: usize,
        newest: usize,
        driver: &'static str,
    }

    /// Answers at the socket that it returns, as Docker does, and notes what it was asked.
    fn serve(folder: &Path, spoken: Spoken) -> (PathBuf, Arc<Mutex<Vec<String>>>) {
        let socket = folder.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let mut words = head.split(' ');
                let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
                note.lock().unwrap().push(format!("{method} {path}"));
                let (status, body) = answer(&spoken, path);
                let text = format!(
                    "HTTP/1.1 {status}\r\nApi-Version: 1.{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    spoken.newest,
                    body.len()
                );
                drop(stream.write_all(text.as_bytes()));
            }
        });
        (socket, asked)
    }

    fn answer(spoken: &Spoken, path: &str) -> (&'static str, String) {
        let version = path.strip_prefix("/v1.").and_then(|rest| rest.split('/').next());
        let version = version.and_then(|version| version.parse::<usize>().ok());
        let refused = |why: &str| ("400 Bad Request", format!("{{\"message\": \"{why}\"}}"));
        match version {
            Some(version) if version < spoken.oldest => {
                return refused("client version is too old");
            }
            Some(version) if version > spoken.newest => {
                return refused("client version is too new");
            }
            _ => {}
        }
        let body = if path.contains("/containers/json") {
            r#"[{"Id": "ab", "Labels": {"dyno.container": "dyno-1-2-3"}},
                {"Id": "cd", "Labels": {"dyno.container": "dyno-4-5-6"}}]"#
                .to_string()
        } else if path.ends_with("/version") {
            r#"{"Version": "29.0.0", "Components": [{"Name": "Engine", "Version": "29.0.0"}]}"#
                .into()
        } else if path.ends_with("/info") {
            format!("{{\"DriverStatus\": [[\"driver-type\", \"{}\"]]}}", spoken.driver)
        } else {
            "{}".into()
        };
        ("200 OK", body)
    }

    const CLASSIC: &str = "overlay2";
    const CONTAINERD: &str = "io.containerd.snapshotter.v1";

    #[tokio::test(flavor = "multi_thread")]
    async fn an_engine_is_spoken_to_in_what_both_speak() {
        for (oldest, newest, driver, refusal) in [
            (12, 41, CLASSIC, None),
            (24, 47, CLASSIC, None),
            (44, 52, CLASSIC, None),
            (44, 90, CLASSIC, None),
            (12, 40, CLASSIC, Some(["it speaks API 1.40", "20.10"])),
            (
                44,
                52,
                CONTAINERD,
                Some(["containerd image store", "\"containerd-snapshotter\": false"]),
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (socket, _) = serve(folder.path(), Spoken { oldest, newest, driver });
            let scope = MachineScope::new(folder.path().join("lock"), "dynotest.slice".into());
            let (scope, socket) = (scope.unwrap(), socket.display().to_string());
            if refusal.is_none() {
                let spoken = connect(&socket, 60).await.unwrap().client_version();
                let newest_here = API_DEFAULT_VERSION.minor_version;
                assert_eq!(spoken.minor_version, newest.min(newest_here), "{oldest} to {newest}");
            }
            let opened = super::super::open(Some(&socket), Path::new("dyno"), &scope).await;
            let what = format!("{oldest} to {newest}, {driver}");
            match (opened, refusal) {
                (Ok(engine), None) => assert_eq!(engine.name(), "docker 29.0.0", "{what}"),
                (Err(error), Some([message, hint])) => {
                    assert_eq!(error.kind, dyno_base::error::Kind::Host, "{what}");
                    assert!(error.message.contains(message), "{what}: {error}");
                    assert!(error.hint.unwrap().contains(hint), "{what}");
                }
                (Ok(_), Some(_)) => panic!("{what} is taken"),
                (Err(error), None) => panic!("{what}: {error}"),
            }
        }
    }

    /// Whoever thaws what a dyno that was killed left speaks as the dyno did, to its own only.
    #[test]
    fn the_guard_speaks_it_too() {
        for (oldest, newest) in [(12, 41), (44, 52)] {
            let folder = tempfile::tempdir().unwrap();
            let (socket, asked) = serve(folder.path(), Spoken { oldest, newest, driver: CLASSIC });
            super::super::thaw(&socket.display().to_string(), "1-2").unwrap();
            let asked = asked.lock().unwrap();
            let thawed: Vec<&String> = asked.iter().filter(|a| a.contains("unpause")).collect();
            assert_eq!(thawed.len(), 1, "{asked:?}");
            assert!(thawed[0].ends_with("/containers/dyno-1-2-3/unpause"), "{thawed:?}");
        }
    }
}
