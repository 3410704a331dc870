//! The one way dyno talks HTTP: a client with bounds, and downloads that are resumed, verified
//! and put in place only when whole.
//!
//! Proxies and certificate authorities are those of the machine: `http_proxy`, `https_proxy`,
//! `no_proxy`, and the system's roots or `SSL_CERT_FILE`.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::file_digest;
use dyno_model::id::Digest;
use reqwest::{StatusCode, header};

use crate::error::{Error, Result, While as _, chain};

/// How often a request is tried before its error is final.
const ATTEMPTS: u32 = 5;

/// Why something could not be had.
#[derive(Debug)]
pub enum Failure {
    /// The server answered, and has no such thing (404 or 410).
    Gone(Error),
    Other(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gone(error) | Failure::Other(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// A client that gives up on a silent server and says who asks.
pub fn client() -> Result<reqwest::Client> {
    client_with(header::HeaderMap::new())
}

/// As [`client`], sending `headers` with every request. Credentials among them do not follow a
/// redirect to another host.
pub fn client_with(headers: header::HeaderMap) -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .default_headers(headers)
        .user_agent(concat!("dyno/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(15))
        .read_timeout(Duration::from_secs(60))
        .build()
        .while_(|| "setting up HTTPS".into())
}

/// The body of `url`, at most `limit_bytes` of it; retried.
pub async fn get(
    client: &reqwest::Client,
    url: &str,
    limit_bytes: u64,
) -> Result<Vec<u8>, Failure> {
    retried(async || {
        let mut response = send(client.get(url), url).await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| Trouble::network(url, &e))? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > limit_bytes {
                let message = format!("{url} is larger than {limit_bytes} bytes");
                return Err(Trouble::Final(Error::infrastructure(message).into()));
            }
        }
        Ok(body)
    })
    .await
}

/// Brings `url` to `dest`, which afterwards holds exactly the `size_bytes` bytes of `sha256`.
///
/// A file already at `dest` is verified and kept. What an interrupted download left
/// (`<dest>.part`) is continued with a range request where the server takes one. `progress`
/// is told how many bytes of the file are here. Several downloads of one file, in this process
/// or others, wait for each other.
pub async fn download(
    client: &reqwest::Client,
    url: &str,
    sha256: &Digest,
    size_bytes: u64,
    dest: &Path,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), Failure> {
    if holds(dest, sha256, size_bytes).await? {
        progress(size_bytes);
        return Ok(());
    }
    let part = with_suffix(dest, ".part");
    let mut file = locked(&part).await?;
    // Whoever held the lock before may have finished the file.
    if holds(dest, sha256, size_bytes).await? {
        progress(size_bytes);
        return Ok(());
    }
    retried(async || {
        let here = file.metadata().map_err(|e| Trouble::disk(&part, e))?.len();
        // Bytes left by an earlier download may be what is wrong; those of this one are not.
        let worth_another = here > 0;
        if here > size_bytes {
            file.set_len(0).map_err(|e| Trouble::disk(&part, e))?;
        }
        if here != size_bytes {
            fill(client, url, size_bytes, &part, &mut file, progress).await?;
        }
        if holds(&part, sha256, size_bytes).await.map_err(Trouble::fatal)? {
            return Ok(());
        }
        file.set_len(0).map_err(|e| Trouble::disk(&part, e))?;
        let error = Error::infrastructure(format!("{url} is not what was pinned: its SHA-256 differs"))
            .hint("the server, or something on the way to it, gives other bytes than those pinned: try another");
        Err(if worth_another { Trouble::Passing(error.into()) } else { Trouble::fatal(error) })
    })
    .await?;
    fs::rename(&part, dest).while_(|| format!("putting {} in place", dest.display()))?;
    Ok(())
}

/// One request for what is missing of `file`.
async fn fill(
    client: &reqwest::Client,
    url: &str,
    size_bytes: u64,
    part: &Path,
    file: &mut File,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), Trouble> {
    let mut here = file.metadata().map_err(|e| Trouble::disk(part, e))?.len();
    let mut request = client.get(url);
    if here > 0 {
        request = request.header(header::RANGE, format!("bytes={here}-"));
    }
    let mut response = send(request, url).await?;
    let continued = response.status() == StatusCode::PARTIAL_CONTENT
        && response
            .headers()
            .get(header::CONTENT_RANGE)
            .and_then(|range| range.to_str().ok())
            .is_some_and(|range| range.starts_with(&format!("bytes {here}-")));
    if here > 0 && !continued {
        file.set_len(0).map_err(|e| Trouble::disk(part, e))?;
        here = 0;
        if response.status() != StatusCode::OK {
            response = send(client.get(url), url).await?;
        }
    }
    while let Some(chunk) = response.chunk().await.map_err(|e| Trouble::network(url, &e))? {
        here += chunk.len() as u64;
        if here > size_bytes {
            file.set_len(0).map_err(|e| Trouble::disk(part, e))?;
            let message = format!("{url} is longer than the {size_bytes} bytes pinned");
            return Err(Trouble::Passing(Error::infrastructure(message).into()));
        }
        // Opened for appending: the kernel keeps the position, also after `set_len`.
        file.write_all(&chunk).map_err(|e| Trouble::disk(part, e))?;
        progress(here);
    }
    if here < size_bytes {
        let message = format!("{url} ended after {here} of {size_bytes} bytes");
        return Err(Trouble::Passing(Error::infrastructure(message).into()));
    }
    Ok(())
}

/// What went wrong in one attempt, and whether another may do better.
pub enum Trouble {
    Passing(Failure),
    Final(Failure),
}

impl Trouble {
    pub fn network(url: &str, error: &reqwest::Error) -> Self {
        let error = Error::infrastructure(format!("getting {url}: {}", chain(error)));
        Self::Passing(error.into())
    }

    fn disk(path: &Path, error: std::io::Error) -> Self {
        let failed: Result<()> = Err(error).while_(|| format!("writing {}", path.display()));
        Self::fatal(failed.expect_err("it was an error"))
    }

    pub fn fatal(error: Error) -> Self {
        Self::Final(error.into())
    }
}

/// Sends one request; an answer that is not a success is an error, and worth another attempt
/// only where the server says that the trouble is its own.
pub async fn send(
    request: reqwest::RequestBuilder,
    url: &str,
) -> Result<reqwest::Response, Trouble> {
    let response = request.send().await.map_err(|e| Trouble::network(url, &e))?;
    let status = response.status();
    // 416: what is here already is not a prefix of what the server has.
    if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok(response);
    }
    let error = Error::infrastructure(format!("getting {url}: the server answered {status}"));
    Err(match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Trouble::Final(Failure::Gone(error)),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Trouble::Passing(error.into())
        }
        _ if status.is_server_error() => Trouble::Passing(error.into()),
        _ => Trouble::Final(error.into()),
    })
}

/// Repeats `attempt` while its trouble may pass, waiting 0.5 s, 1 s, 2 s … in between.
pub async fn retried<T>(
    mut attempt: impl AsyncFnMut() -> Result<T, Trouble>,
) -> Result<T, Failure> {
    let mut wait = Duration::from_millis(500);
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(Trouble::Final(failure)) => return Err(failure),
            Err(Trouble::Passing(_)) => tokio::time::sleep(wait).await,
        }
        wait *= 2;
    }
    attempt().await.map_err(|(Trouble::Passing(failure) | Trouble::Final(failure))| failure)
}

/// Whether `path` holds exactly these bytes.
pub async fn holds(path: &Path, sha256: &Digest, size_bytes: u64) -> Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() == size_bytes => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).while_(|| format!("looking at {}", path.display())),
    }
    let owned = path.to_path_buf();
    let found = tokio::task::spawn_blocking(move || file_digest(&owned))
        .await
        .while_(|| "hashing".into())?;
    Ok(found.while_(|| format!("reading {}", path.display()))? == *sha256)
}

/// Opens `path` for appending and takes its lock, which ends with the file.
pub async fn locked(path: &Path) -> Result<File> {
    let owned = path.to_path_buf();
    let open = move || -> std::io::Result<File> {
        if let Some(folder) = owned.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(&owned)?;
        file.lock()?;
        Ok(file)
    };
    tokio::task::spawn_blocking(open)
        .await
        .while_(|| "waiting for a lock".into())?
        .while_(|| format!("opening {}", path.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::testing::{Site, serve};
    use super::*;

    struct Outcome {
        result: Result<(), Failure>,
        asked: Vec<String>,
        whole: bool,
        progress: Vec<u64>,
    }

    /// Downloads `/f`, which is to be `body`, from a site that serves `served`.
    async fn check(body: &[u8], served: &[u8], left: Option<&[u8]>, site: Site) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let dest = folder.path().join("f");
        if let Some(left) = left {
            fs::write(with_suffix(&dest, ".part"), left).unwrap();
        }
        let mut site = site;
        site.files.insert("/f".into(), served.to_vec());
        let (address, site) = serve(site);
        let seen = std::sync::Mutex::new(Vec::new());
        let progress = |bytes| seen.lock().unwrap().push(bytes);
        let (url, sha256) = (format!("{address}/f"), Digest::of(body));
        let client = client().unwrap();
        let result = download(&client, &url, &sha256, body.len() as u64, &dest, &progress).await;
        let asked = site.lock().unwrap().asked.clone();
        let whole = fs::read(&dest).is_ok_and(|found| found == body);
        assert_eq!(dest.exists(), whole, "only what is whole is in place");
        Outcome { result, asked, whole, progress: seen.into_inner().unwrap() }
    }

    #[tokio::test]
    async fn a_cut_download_goes_on_where_it_was() {
        let body: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let cut = || [("/f".to_string(), 70_000)].into();
        let site = Site { takes_ranges: true, cuts: cut(), ..Site::default() };
        let outcome = check(&body, &body, None, site).await;
        assert!(outcome.whole && outcome.asked == ["/f", "/f bytes=70000-"], "{:?}", outcome.asked);
        assert_eq!(outcome.progress.last(), Some(&200_000));
        // A server without ranges sends all of it again.
        let site = Site { cuts: cut(), ..Site::default() };
        assert!(check(&body, &body, None, site).await.whole);
        // So does a new process after the old one was killed.
        let site = Site { takes_ranges: true, ..Site::default() };
        let outcome = check(&body, &body, Some(&body[..5000]), site).await;
        assert!(outcome.whole && outcome.asked == ["/f bytes=5000-"], "{:?}", outcome.asked);
        // What was left is wrong, too long, or whole already.
        for (left, requests) in [(vec![9; 5000], 2), (vec![9; 300_000], 1), (body.clone(), 0)] {
            let site = Site { takes_ranges: true, ..Site::default() };
            let outcome = check(&body, &body, Some(&left), site).await;
            assert!(outcome.whole && outcome.asked.len() == requests, "{:?}", outcome.asked);
        }
    }

    #[tokio::test]
    async fn other_bytes_are_refused() {
        let outcome = check(b"pinned", b"forged", None, Site::default()).await;
        let Err(Failure::Other(error)) = outcome.result else { panic!("taken") };
        assert!(error.message.contains("SHA-256 differs"), "{error}");
        assert!(!outcome.whole && outcome.asked.len() == 1);
    }

    #[tokio::test]
    async fn a_missing_file_is_told_from_other_troubles() {
        let folder = tempfile::tempdir().unwrap();
        let (address, _) = serve(Site::default());
        let client = client().unwrap();
        let missing = get(&client, &format!("{address}/none"), 10).await;
        assert!(matches!(missing, Err(Failure::Gone(_))), "{missing:?}");
        let (url, dest) = (format!("{address}/none"), folder.path().join("f"));
        let missing = download(&client, &url, &Digest::of(b""), 1, &dest, &|_| ()).await;
        assert!(matches!(missing, Err(Failure::Gone(_))), "{missing:?}");
    }

    #[tokio::test]
    async fn two_downloads_of_one_file_fetch_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site { files: [("/f".to_string(), vec![7; 100_000])].into(), ..Site::default() };
        let (address, site) = serve(site);
        let (url, dest) = (format!("{address}/f"), folder.path().join("f"));
        let (client, sha256) = (client().unwrap(), Digest::of(&vec![7; 100_000]));
        let one = || download(&client, &url, &sha256, 100_000, &dest, &|_| ());
        let (first, second) = futures::join!(one(), one());
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(site.lock().unwrap().asked, ["/f"]);
    }
}
