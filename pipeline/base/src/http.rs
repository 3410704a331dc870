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

use crate::error::{Error, Result, WithContext as _, chain};

/// How often a request is tried before its error is final.
const ATTEMPTS: u32 = 5;

/// Reason why something could not be had.
#[derive(Debug)]
pub enum FetchError {
    /// The server answered, and has no such thing (404 or 410).
    Gone(Error),
    Other(Error),
}

impl From<FetchError> for Error {
    fn from(failure: FetchError) -> Self {
        match failure {
            FetchError::Gone(error) | FetchError::Other(error) => error,
        }
    }
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// A client that gives up on a silent server and says who asks.
pub fn client() -> Result<reqwest::Client> {
    client_with(header::HeaderMap::new())
}

/// A client as [`client`] makes it, sending `headers` with every request. Credentials among them do
/// not follow a redirect to another host.
pub fn client_with(headers: header::HeaderMap) -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .default_headers(headers)
        .user_agent(concat!("dyno/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(15))
        .read_timeout(Duration::from_secs(60))
        .build()
        .context(|| "setting up HTTPS".into())
}

/// The body of `url`, at most `limit_bytes` of it; retried.
pub async fn get(
    client: &reqwest::Client,
    url: &str,
    limit_bytes: u64,
) -> Result<Vec<u8>, FetchError> {
    retry(async || {
        let mut response = send(client.get(url), url).await?;
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|e| AttemptError::network(url, &e))?
        {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > limit_bytes {
                let message = format!("{url} is larger than {limit_bytes} bytes");
                return Err(AttemptError::Permanent(Error::infrastructure(message).into()));
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
) -> Result<(), FetchError> {
    if has_content(dest, sha256, size_bytes).await? {
        progress(size_bytes);
        return Ok(());
    }
    let part = with_suffix(dest, ".part");
    let mut file = open_locked(&part).await?;
    // Whoever held the lock before may have finished the file.
    if has_content(dest, sha256, size_bytes).await? {
        progress(size_bytes);
        return Ok(());
    }
    retry(async || {
        let present_bytes = file.metadata().map_err(|e| AttemptError::disk(&part, e))?.len();
        // Bytes left by an earlier download may be what is wrong; those of this one are not.
        let worth_another = present_bytes > 0;
        if present_bytes > size_bytes {
            file.set_len(0).map_err(|e| AttemptError::disk(&part, e))?;
        }
        if present_bytes != size_bytes {
            request_rest(client, url, size_bytes, &part, &mut file, progress).await?;
        }
        if has_content(&part, sha256, size_bytes).await.map_err(AttemptError::fatal)? {
            return Ok(());
        }
        file.set_len(0).map_err(|e| AttemptError::disk(&part, e))?;
        let error = Error::infrastructure(format!("{url} is not what was pinned: its SHA-256 differs"))
            .hint("the server, or something on the way to it, gives other bytes than those pinned: try another");
        Err(if worth_another { AttemptError::Transient(error.into()) } else { AttemptError::fatal(error) })
    })
    .await?;
    fs::rename(&part, dest).context(|| format!("putting {} in place", dest.display()))?;
    Ok(())
}

/// One request for what is missing of `file`.
async fn request_rest(
    client: &reqwest::Client,
    url: &str,
    size_bytes: u64,
    part: &Path,
    file: &mut File,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), AttemptError> {
    let mut present_bytes = file.metadata().map_err(|e| AttemptError::disk(part, e))?.len();
    let mut request = client.get(url);
    if present_bytes > 0 {
        request = request.header(header::RANGE, format!("bytes={present_bytes}-"));
    }
    let mut response = send(request, url).await?;
    let continued = response.status() == StatusCode::PARTIAL_CONTENT
        && response
            .headers()
            .get(header::CONTENT_RANGE)
            .and_then(|range| range.to_str().ok())
            .is_some_and(|range| range.starts_with(&format!("bytes {present_bytes}-")));
    if present_bytes > 0 && !continued {
        file.set_len(0).map_err(|e| AttemptError::disk(part, e))?;
        present_bytes = 0;
        if response.status() != StatusCode::OK {
            response = send(client.get(url), url).await?;
        }
    }
    while let Some(chunk) = response.chunk().await.map_err(|e| AttemptError::network(url, &e))? {
        present_bytes += chunk.len() as u64;
        if present_bytes > size_bytes {
            file.set_len(0).map_err(|e| AttemptError::disk(part, e))?;
            let message = format!("{url} is longer than the {size_bytes} bytes pinned");
            return Err(AttemptError::Transient(Error::infrastructure(message).into()));
        }
        // Opened for appending: the kernel keeps the position, also after `set_len`.
        file.write_all(&chunk).map_err(|e| AttemptError::disk(part, e))?;
        progress(present_bytes);
    }
    if present_bytes < size_bytes {
        let message = format!("{url} ended after {present_bytes} of {size_bytes} bytes");
        return Err(AttemptError::Transient(Error::infrastructure(message).into()));
    }
    Ok(())
}

/// What went wrong in one attempt, and whether another may do better.
pub enum AttemptError {
    Transient(FetchError),
    Permanent(FetchError),
}

impl AttemptError {
    pub fn network(url: &str, error: &reqwest::Error) -> Self {
        let error = Error::infrastructure(format!("getting {url}: {}", chain(error)));
        Self::Transient(error.into())
    }

    fn disk(path: &Path, error: std::io::Error) -> Self {
        let failed: Result<()> = Err(error).context(|| format!("writing {}", path.display()));
        Self::fatal(failed.expect_err("it was an error"))
    }

    pub fn fatal(error: Error) -> Self {
        Self::Permanent(error.into())
    }
}

/// Sends one request; an answer that is not a success is an error, and worth another attempt
/// only where the server says that the trouble is its own.
pub async fn send(
    request: reqwest::RequestBuilder,
    url: &str,
) -> Result<reqwest::Response, AttemptError> {
    let response = request.send().await.map_err(|e| AttemptError::network(url, &e))?;
    let status = response.status();
    // 416: what is here already is not a prefix of what the server has.
    if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok(response);
    }
    let error = Error::infrastructure(format!("getting {url}: the server answered {status}"));
    Err(match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            AttemptError::Permanent(FetchError::Gone(error))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            AttemptError::Transient(error.into())
        }
        _ if status.is_server_error() => AttemptError::Transient(error.into()),
        _ => AttemptError::Permanent(error.into()),
    })
}

/// Repeats `attempt` while its trouble may pass, waiting 0.5 s, 1 s, 2 s … in between.
pub async fn retry<T>(
    mut attempt: impl AsyncFnMut() -> Result<T, AttemptError>,
) -> Result<T, FetchError> {
    let mut wait = Duration::from_millis(500);
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(AttemptError::Permanent(failure)) => return Err(failure),
            Err(AttemptError::Transient(_)) => tokio::time::sleep(wait).await,
        }
        wait *= 2;
    }
    attempt()
        .await
        .map_err(|(AttemptError::Transient(failure) | AttemptError::Permanent(failure))| failure)
}

/// Whether the file at `path` holds exactly the bytes of `sha256`.
pub async fn has_content(path: &Path, sha256: &Digest, size_bytes: u64) -> Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() == size_bytes => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).context(|| format!("looking at {}", path.display())),
    }
    let path_buf = path.to_path_buf();
    let found = tokio::task::spawn_blocking(move || file_digest(&path_buf))
        .await
        .context(|| "hashing".into())?;
    Ok(found.context(|| format!("reading {}", path.display()))? == *sha256)
}

/// Opens `path` for appending and takes its lock, which ends with the file.
pub async fn open_locked(path: &Path) -> Result<File> {
    let path_buf = path.to_path_buf();
    let open = move || -> std::io::Result<File> {
        if let Some(folder) = path_buf.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(&path_buf)?;
        file.lock()?;
        Ok(file)
    };
    tokio::task::spawn_blocking(open)
        .await
        .context(|| "waiting for a lock".into())?
        .context(|| format!("opening {}", path.display()))
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
    use super::testing::{TestSite, serve};
    use super::*;

    struct Outcome {
        result: Result<(), FetchError>,
        requests: Vec<String>,
        whole: bool,
        progress: Vec<u64>,
    }

    /// Downloads `/f`, which is to be `body`, from a site that serves `served`.
    async fn check(body: &[u8], served: &[u8], partial: Option<&[u8]>, site: TestSite) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let dest = folder.path().join("f");
        if let Some(partial) = partial {
            fs::write(with_suffix(&dest, ".part"), partial).unwrap();
        }
        let mut site = site;
        site.files.insert("/f".into(), served.to_vec());
        let (address, site) = serve(site);
        let seen = std::sync::Mutex::new(Vec::new());
        let progress = |bytes| seen.lock().unwrap().push(bytes);
        let (url, sha256) = (format!("{address}/f"), Digest::of(body));
        let client = client().unwrap();
        let result = download(&client, &url, &sha256, body.len() as u64, &dest, &progress).await;
        let requests = site.lock().unwrap().requests.clone();
        let whole = fs::read(&dest).is_ok_and(|found| found == body);
        assert_eq!(dest.exists(), whole, "only what is whole is in place");
        Outcome { result, requests, whole, progress: seen.into_inner().unwrap() }
    }

    #[tokio::test]
    async fn a_cut_download_goes_on_where_it_was() {
        let body: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let cut = || [("/f".to_string(), 70_000)].into();
        let site = TestSite { takes_ranges: true, cuts: cut(), ..TestSite::default() };
        let outcome = check(&body, &body, None, site).await;
        assert!(
            outcome.whole && outcome.requests == ["/f", "/f bytes=70000-"],
            "{:?}",
            outcome.requests
        );
        assert_eq!(outcome.progress.last(), Some(&200_000));
        // A server without ranges sends all of it again.
        let site = TestSite { cuts: cut(), ..TestSite::default() };
        assert!(check(&body, &body, None, site).await.whole);
        // So does a new process after the old one was killed.
        let site = TestSite { takes_ranges: true, ..TestSite::default() };
        let outcome = check(&body, &body, Some(&body[..5000]), site).await;
        assert!(outcome.whole && outcome.requests == ["/f bytes=5000-"], "{:?}", outcome.requests);
        // What was left is wrong, too long, or whole already.
        for (partial, expected) in [(vec![9; 5000], 2), (vec![9; 300_000], 1), (body.clone(), 0)] {
            let site = TestSite { takes_ranges: true, ..TestSite::default() };
            let outcome = check(&body, &body, Some(&partial), site).await;
            assert!(outcome.whole && outcome.requests.len() == expected, "{:?}", outcome.requests);
        }
    }

    #[tokio::test]
    async fn other_bytes_are_refused() {
        let outcome = check(b"pinned", b"forged", None, TestSite::default()).await;
        let Err(FetchError::Other(error)) = outcome.result else { panic!("taken") };
        assert!(error.message.contains("SHA-256 differs"), "{error}");
        assert!(!outcome.whole && outcome.requests.len() == 1);
    }

    #[tokio::test]
    async fn a_missing_file_is_told_from_other_troubles() {
        let folder = tempfile::tempdir().unwrap();
        let (address, _) = serve(TestSite::default());
        let client = client().unwrap();
        let missing = get(&client, &format!("{address}/none"), 10).await;
        assert!(matches!(missing, Err(FetchError::Gone(_))), "{missing:?}");
        let (url, dest) = (format!("{address}/none"), folder.path().join("f"));
        let missing = download(&client, &url, &Digest::of(b""), 1, &dest, &|_| ()).await;
        assert!(matches!(missing, Err(FetchError::Gone(_))), "{missing:?}");
    }

    #[tokio::test]
    async fn two_downloads_of_one_file_fetch_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let site = TestSite {
            files: [("/f".to_string(), vec![7; 100_000])].into(),
            ..TestSite::default()
        };
        let (address, site) = serve(site);
        let (url, dest) = (format!("{address}/f"), folder.path().join("f"));
        let (client, sha256) = (client().unwrap(), Digest::of(&vec![7; 100_000]));
        let fetch = || download(&client, &url, &sha256, 100_000, &dest, &|_| ());
        let (first, second) = futures::join!(fetch(), fetch());
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(site.lock().unwrap().requests, ["/f"]);
    }
}
