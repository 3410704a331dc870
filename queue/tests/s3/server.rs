//! S3 servers to try the queue against: `moto_server` (of the Python package moto) and
//! `s3s-witness` (of the folder `queue/tests/s3s`), each of its own and for one test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The store that the tests use on each server.
pub const URL: &str = "s3://dyno/store";

/// A server that ends with this.
pub struct S3Server {
    child: Child,
    /// Its address and port.
    pub address: String,
    /// The bucket of s3s is in it.
    _folder: tempfile::TempDir,
    /// Whether it takes requests that are signed: moto takes no others, and s3s without keys none.
    is_signed: bool,
}

impl S3Server {
    /// A server of moto that listens at `host`; `None` where that is not installed.
    pub fn moto(host: IpAddr) -> Option<Self> {
        let program = find("moto_server", "moto")?;
        // The port is free until somebody else asks for it in between.
        let port = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(["-H", &host.to_string(), "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let server =
            Self { child, address: format!("{host}:{port}"), _folder: folder, is_signed: true };
        let until = Instant::now() + Duration::from_secs(60);
        while ask(&server.address, "PUT", "/dyno", "", "")
            .is_none_or(|answer| !answer.contains(" 200 "))
        {
            assert!(Instant::now() < until, "moto_server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    /// A server of s3s on a folder; `None` where that is not installed.
    pub fn s3s() -> Option<Self> {
        let program = find("s3s-witness", "s3s")?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("dyno")).unwrap();
        let mut command = Command::new(program);
        command.arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        Some(Self { child, address: address.trim().to_string(), _folder: folder, is_signed: false })
    }

    /// What sets up a client of this server that reaches it at `address`: its own, or a proxy's.
    pub fn settings(&self, address: &str) -> Vec<(String, String)> {
        let skips_signature = (!self.is_signed).to_string();
        [
            ("AWS_ENDPOINT", format!("http://{address}").as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_SKIP_SIGNATURE", &skips_signature),
        ]
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .to_vec()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Asks one thing over HTTP, with these headers beside those that each request has; the whole answer.
pub fn ask(address: &str, method: &str, path: &str, headers: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let host = if headers.contains("host: ") { "" } else { &format!("host: {address}\r\n") };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\n{host}{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The program in `PATH`; says that what needs `what` is skipped where there is none, and fails
/// where `DYNO_TEST_REQUIRE` asks for it.
fn find(program: &str, what: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|f| f.join(program)).find(|file| file.is_file());
    if found.is_none() {
        let required = std::env::var("DYNO_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|r| r == what), "{what} is required but missing");
        let line = format!("skipped: needs {what}: {program} is not in PATH");
        eprintln!("{line}");
        if let Some(file) = std::env::var_os("DYNO_TEST_SKIPPED") {
            let name = std::thread::current().name().unwrap_or("a test").to_string();
            let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
            file.and_then(|mut file| writeln!(file, "{name}: {line}")).expect("DYNO_TEST_SKIPPED");
        }
    }
    found
}
