//! GitHub's REST API: the one place that talks to it.
//!
//! A request is sent once, and what comes back is taken for what it is: done, refused, a limit, or
//! nobody knows ([`HubTrouble`]). octocrab carries requests ([`Wire`]); its own conveniences are left
//! alone, since they repeat a `POST`, sleep for an hour, read names as paths and follow links to other
//! hosts. Replies are read by structures of our own, which ask for no more than is needed.

mod access;
mod etags;
mod hub;
mod read;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use dyno_queue::Clock;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

pub use access::Access;
pub use etags::Etags;
pub use read::{Comment, Pull};
pub use wire::{Answer, Call, Method, Transport, Wire};

use crate::configuration::{RepositoryName, is_safe};
use crate::outbox::HubTrouble;
use etags::Kept;

/// How far apart two writes are: GitHub asks for it.
const BETWEEN_WRITES: Duration = Duration::from_secs(1);

/// How long a limit is taken to last of which GitHub does not say it, in µs.
const LIMIT_US: i64 = 60_000_000;

/// Items of a page.
const PAGE: &str = "100";

/// Pages of a list beyond which it is not read.
const PAGES_MAX: usize = 100;

/// GitHub, as one bot sees it.
pub struct GitHub<T, C> {
    transport: T,
    clock: C,
    api: Url,
    access: Access,
    /// The id of the bot's account.
    own: u64,
    etags: Etags,
    state: Mutex<State>,
}

/// What is known from one request to the next.
#[derive(Default)]
struct State {
    /// Until when GitHub wants to be left alone, in µs since 1970.
    limited_until_us: i64,
    /// When something was written last, by the clock that only grows.
    written: Option<Duration>,
    /// The tokens of installations, and when they end.
    tokens: BTreeMap<RepositoryName, (SecretString, i64)>,
}

/// What is said beside a refusal.
#[derive(Deserialize)]
struct Message {
    message: String,
}

impl<T: Transport, C: Clock> GitHub<T, C> {
    /// GitHub at the address `api`, for the bot of account `own`.
    ///
    /// # Errors
    /// An address to which no token may go.
    pub fn new(
        api: &str,
        (access, own): (Access, u64),
        etags: Etags,
        transport: T,
        clock: C,
    ) -> Result<Self, String> {
        let url = Url::parse(api).ok().filter(|_| is_safe(api));
        let url = url.ok_or(format!("{api}: a token goes to https addresses alone"))?;
        Ok(Self { transport, clock, api: url, access, own, etags, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }

    /// The address of a path of the API. Whatever stands in a segment stays in it.
    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, HubTrouble> {
        if let Some(odd) = path.iter().find(|part| ["", ".", ".."].contains(*part)) {
            return Err(HubTrouble::Refused(format!("{odd:?} cannot stand in a path of the API")));
        }
        let mut url = self.api.clone();
        url.path_segments_mut().expect("https has paths").pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Sends one request.
    async fn exchange(
        &self,
        method: Method,
        url: Url,
        token: SecretString,
        etag: Option<String>,
        body: Option<Value>,
    ) -> Result<Answer, HubTrouble> {
        let until_us = self.state().limited_until_us;
        if self.clock.wall_us() < until_us {
            return Err(HubTrouble::Limited { until_us });
        }
        if method != Method::Get {
            let written = self.state().written;
            let next = written.map_or(Duration::ZERO, |written| written + BETWEEN_WRITES);
            if let Some(left) = next.checked_sub(self.clock.now()).filter(|left| !left.is_zero()) {
                self.clock.sleep(left).await;
            }
        }
        let what = format!("{} {}", method.name(), url.path());
        let sent = self.transport.send(Call { method, url, token, etag, body }).await;
        if method != Method::Get {
            self.state().written = Some(self.clock.now());
        }
        let answer = sent.map_err(|why| HubTrouble::Away(format!("GitHub: {what}: {why}")))?;
        self.judge(&what, answer)
    }

    /// What a reply means.
    fn judge(&self, what: &str, answer: Answer) -> Result<Answer, HubTrouble> {
        let now_us = self.clock.wall_us();
        let number = |name: &str| answer.header(name).and_then(|text| text.parse::<i64>().ok());
        let reset_us = number("x-ratelimit-reset").map(|s| s.saturating_mul(1_000_000));
        let is_used_up = number("x-ratelimit-remaining") == Some(0);
        if let Some(reset_us) = reset_us.filter(|_| is_used_up) {
            // A reset that is past would be no limit; one in a year, a broken clock.
            let latest_us = now_us + 2 * 3_600_000_000;
            self.state().limited_until_us = reset_us.clamp(now_us + 1_000_000, latest_us);
        }
        let status = answer.status;
        if (200..300).contains(&status) || status == 304 {
            return Ok(answer);
        }
        let said = serde_json::from_slice::<Message>(&answer.body);
        let said = said.map_or(String::new(), |said| format!(": {}", said.message));
        let retry_after = number("retry-after");
        let is_secondary = said.to_ascii_lowercase().contains("rate limit");
        if [403, 429].contains(&status)
            && (retry_after.is_some() || is_used_up || is_secondary || status == 429)
        {
            let mut state = self.state();
            let wait_us = retry_after.map_or(LIMIT_US, |s| s.clamp(1, 86_400) * 1_000_000);
            if !is_used_up || retry_after.is_some() {
                state.limited_until_us = state.limited_until_us.max(now_us + wait_us);
            }
            return Err(HubTrouble::Limited { until_us: state.limited_until_us });
        }
        let text = format!("GitHub: {what}: {status}{said}");
        match status {
            401 => {
                // A token that was taken back is asked for anew.
                self.state().tokens.clear();
                Err(HubTrouble::Away(text))
            }
            408 | 500.. => Err(HubTrouble::Away(text)),
            404 | 410 => Err(HubTrouble::Gone(text)),
            _ => Err(HubTrouble::Refused(text)),
        }
    }

    /// A `GET`: the body, and the page after it.
    async fn page(
        &self,
        repository: &RepositoryName,
        url: Url,
    ) -> Result<(String, Option<Url>), HubTrouble> {
        let token = self.token(repository).await?;
        let kept = self.etags.find(url.as_str());
        let etag = kept.as_ref().map(|kept| kept.etag.clone());
        let answer = self.exchange(Method::Get, url.clone(), token, etag, None).await?;
        let kept = match (answer.status, kept) {
            (304, Some(kept)) => kept,
            _ => {
                let link = answer.header("link").map(str::to_string);
                let etag = answer.header("etag").map(str::to_string);
                let body = String::from_utf8(answer.body)
                    .map_err(|_| HubTrouble::Away(format!("GitHub: {}: no text", url.path())))?;
                let has_etag = etag.is_some();
                let kept = Kept::new(url.to_string(), etag.unwrap_or_default(), link, body);
                if has_etag {
                    self.etags.keep(&kept);
                }
                kept
            }
        };
        let next = kept.link.as_deref().and_then(next_page).map(|next| self.same_host(&next));
        Ok((kept.body, next.transpose()?))
    }

    /// `next` as an address, if it is one of the API: tokens go nowhere else.
    fn same_host(&self, next: &str) -> Result<Url, HubTrouble> {
        let url = Url::parse(next).ok().filter(|url| url.origin() == self.api.origin());
        url.ok_or_else(|| HubTrouble::Away(format!("GitHub: the next page is elsewhere: {next}")))
    }

    /// Reads one thing.
    async fn get<R: DeserializeOwned>(
        &self,
        repository: &RepositoryName,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<R, HubTrouble> {
        let url = self.url(&repository_path(repository, path), query)?;
        let (body, _) = self.page(repository, url).await?;
        parsed(body.as_bytes())
    }

    /// Reads all pages of a list, which lies under `key` where it is in an object.
    async fn list<R: DeserializeOwned>(
        &self,
        repository: &RepositoryName,
        path: &[&str],
        query: &[(&str, &str)],
        key: Option<&str>,
    ) -> Result<Vec<R>, HubTrouble> {
        let query = [query, &[("per_page", PAGE)]].concat();
        let mut next = Some(self.url(&repository_path(repository, path), &query)?);
        let mut items = Vec::new();
        for _ in 0..PAGES_MAX {
            let Some(url) = next else { return Ok(items) };
            let (body, following) = self.page(repository, url).await?;
            let mut page: Value = parsed(body.as_bytes())?;
            let list = match key {
                Some(key) => page[key].take(),
                None => page,
            };
            let list: Vec<R> = serde_json::from_value(list).map_err(unread)?;
            items.extend(list);
            next = following;
        }
        Err(HubTrouble::Refused(format!("GitHub: {}: over {PAGES_MAX} pages", path.join("/"))))
    }

    /// Changes something.
    async fn write(
        &self,
        repository: &RepositoryName,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<(), HubTrouble> {
        let token = self.token(repository).await?;
        let url = self.url(&repository_path(repository, path), &[])?;
        self.exchange(method, url, token, None, body).await.map(drop)
    }
}

fn repository_path<'a>(repository: &'a RepositoryName, path: &[&'a str]) -> Vec<&'a str> {
    [&["repos", repository.owner(), repository.name()], path].concat()
}

/// What a reply says.
fn parsed<R: DeserializeOwned>(body: &[u8]) -> Result<R, HubTrouble> {
    serde_json::from_slice(body).map_err(unread)
}

fn unread(error: serde_json::Error) -> HubTrouble {
    // Not its text, which can have parts of a token.
    HubTrouble::Away(format!("GitHub: a reply that is not understood: {:?}", error.classify()))
}

/// The address of the next page in a header `Link`.
fn next_page(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    next.split(['<', '>']).nth(1).map(str::to_string)
}
