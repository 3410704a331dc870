//! A way to an S3 server on which things go wrong, and on which requests are counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It never reaches the server, and this is the answer.
    Status(&'static str),
    /// It never reaches the server, and nobody answers.
    Silence,
    /// It is done, and the answer is lost.
    LostReply,
    /// It reaches the server without this header.
    Without(&'static str),
}

/// A request as it came.
pub struct Seen<'a> {
    pub method: &'a str,
    /// The whole head, in lower case.
    pub head: &'a str,
}

type Draw = Box<dyn FnMut(&Seen<'_>) -> Fault + Send>;

/// How often each kind of request came.
pub type Counts = BTreeMap<&'static str, u64>;

/// A proxy that ends with this.
pub struct Proxy {
    pub address: String,
    counts: Arc<Mutex<Counts>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// A proxy to the server at `address`, on which `draw` decides what goes wrong.
    pub async fn start(
        address: &str,
        draw: impl FnMut(&Seen<'_>) -> Fault + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let counts = Arc::new(Mutex::new(Counts::new()));
        let draw: Arc<Mutex<Draw>> = Arc::new(Mutex::new(Box::new(draw)));
        let (server, seen) = (address.to_string(), Arc::clone(&counts));
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (server, draw, seen) = (server.clone(), Arc::clone(&draw), Arc::clone(&seen));
                // A client that is gone is no failure of a test.
                tokio::spawn(async move { drop(pass(client, &server, &draw, &seen).await) });
            }
        });
        Self { address: own, counts, task }
    }

    /// What came since this was asked last.
    pub fn take_counts(&self) -> Counts {
        std::mem::take(&mut self.counts.lock().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn kind(method: &str, target: &str) -> &'static str {
    match method {
        "GET" if target.contains("list-type=") => "list",
        "GET" if target.contains("/queue/jobs/") => "read of a job",
        "GET" | "HEAD" => "read",
        "PUT" => "write",
        _ => "removal",
    }
}

/// Passes one request on, and its answer back.
async fn pass(
    mut client: TcpStream,
    server: &str,
    draw: &Mutex<Draw>,
    counts: &Mutex<Counts>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let end = loop {
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&request[..end]).to_string();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
    while request.len() < end + length {
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    *counts.lock().unwrap().entry(kind(method, target)).or_default() += 1;
    let fault = (draw.lock().unwrap())(&Seen { method, head: &lower });
    match fault {
        Fault::Status(status) => {
            let body = "<Error><Code>Injected</Code><Message>injected</Message></Error>";
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            return client.write_all(answer.as_bytes()).await;
        }
        Fault::Silence => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return Ok(());
        }
        Fault::None | Fault::LostReply | Fault::Without(_) => {}
    }
    let is_kept = |line: &&str| {
        let name = line.split(':').next().unwrap_or("").to_ascii_lowercase();
        let is_taken = matches!(fault, Fault::Without(header) if header == name);
        name != "connection" && !is_taken
    };
    let mut onward: String =
        head.trim_end().split("\r\n").filter(is_kept).flat_map(|line| [line, "\r\n"]).collect();
    onward.push_str("connection: close\r\n\r\n");
    let mut upstream = TcpStream::connect(server).await?;
    upstream.write_all(onward.as_bytes()).await?;
    upstream.write_all(&request[end..]).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    match fault {
        Fault::LostReply => Ok(()),
        _ => client.write_all(&answer).await,
    }
}
