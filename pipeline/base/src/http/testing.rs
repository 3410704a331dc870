//! A small server on loopback, for the tests of whoever downloads; other crates include this file
//! by its path.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Default)]
pub struct TestSite {
    /// Path, with its slash → body.
    pub files: HashMap<String, Vec<u8>>,
    pub takes_ranges: bool,
    /// Path → how many bytes to send before hanging up, once.
    pub cuts: HashMap<String, usize>,
    /// `path` or `path range` of each request.
    pub requests: Vec<String>,
}

/// Serves until the test process ends; gives the address without a slash at its end.
pub fn serve(site: TestSite) -> (String, Arc<Mutex<TestSite>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let site = Arc::new(Mutex::new(site));
    let shared = Arc::clone(&site);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let site = Arc::clone(&shared);
            std::thread::spawn(move || drop(answer(stream, &site)));
        }
    });
    (address, site)
}

fn answer(mut stream: TcpStream, site: &Mutex<TestSite>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or("").to_string();
    let mut range = None;
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        range = range.or(line.strip_prefix("range: ").map(str::to_string));
    }
    let (head, body) = {
        let mut site = site.lock().unwrap();
        let request_line = format!("{path} {}", range.as_deref().unwrap_or(""));
        site.requests.push(request_line.trim_end().to_string());
        let start = range.filter(|_| site.takes_ranges).and_then(|range| {
            range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
        });
        let cut = site.cuts.remove(&path).unwrap_or(usize::MAX);
        match site.files.get(&path) {
            None => ("404 Not Found\r\ncontent-length: 0".to_string(), Vec::new()),
            Some(body) => {
                let from = start.unwrap_or(0).min(body.len());
                let status = start.map_or("200 OK".to_string(), |start| {
                    let last = body.len().saturating_sub(1);
                    format!(
                        "206 Partial Content\r\ncontent-range: bytes {start}-{last}/{}",
                        body.len()
                    )
                });
                let rest = body[from..].to_vec();
                let head = format!("{status}\r\ncontent-length: {}", rest.len());
                (head, rest[..cut.min(rest.len())].to_vec())
            }
        }
    };
    write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\n\r\n")?;
    stream.write_all(&body)
}
