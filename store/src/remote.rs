//! Object storage by its URL.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::ClientConfigKey;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreScheme, Result, RetryConfig};
use url::Url;

/// The names and values that set up a client, as the `AWS_*` variables do.
pub(crate) type Settings = Vec<(String, String)>;

/// How long a client waits before it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It repeats what is harmless for minutes, as object_store does.
    Minutes,
    /// It gives up within seconds: for who tries again and says why it waits.
    Seconds,
}

/// How long a request may take where a client gives up within seconds, unless `AWS_TIMEOUT` says.
const TIMEOUT: &str = "10s";

/// The objects below `url`.
pub(crate) fn remote_objects(
    url: &Url,
    settings: &Settings,
    patience: Patience,
) -> Result<Arc<dyn ObjectStore>> {
    let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let is_s3 = matches!(ObjectStoreScheme::parse(url), Ok((ObjectStoreScheme::AmazonS3, _)));
    if !is_s3 || patience == Patience::Minutes {
        let (objects, prefix) = object_store::parse_url_opts(url, settings)?;
        return Ok(Arc::new(PrefixStore::new(objects, prefix)));
    }
    let (_, prefix) = ObjectStoreScheme::parse(url)?;
    let retries = RetryConfig {
        backoff: BackoffConfig { init_backoff: Duration::from_millis(100), ..Default::default() },
        max_retries: 2,
        retry_timeout: Duration::from_secs(5),
    };
    let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
    let builder = AmazonS3Builder::new().with_url(url.to_string()).with_retry(retries);
    let builder = settings.fold(builder.with_config(timeout, TIMEOUT), |builder, (name, value)| {
        match name.to_ascii_lowercase().parse() {
            Ok(key) => builder.with_config(key, value),
            Err(_) => builder,
        }
    });
    Ok(Arc::new(PrefixStore::new(builder.build()?, prefix)))
}
