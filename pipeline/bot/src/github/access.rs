//! What the bot shows GitHub: a token, or an App's signature, for which GitHub gives a token of an
//! hour for one repository.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::DateTime;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::wire::{Method, Transport};
use super::{GitHub, parsed};
use crate::configuration::{Credential, RepositoryName};
use crate::outbox::HubTrouble;
use dyno_queue::Clock;

/// Seconds by which the clock of this machine may be ahead of GitHub's.
const AHEAD_S: i64 = 60;

/// Seconds that a signature holds: GitHub takes 600 at most.
const SIGNATURE_S: i64 = 480;

/// How long before its end a token is not used any more, in µs.
const MARGIN_US: i64 = 300_000_000;

/// What the bot shows GitHub.
pub enum Access {
    Token(SecretString),
    App { id: u64, key: Box<RsaKeyPair> },
}

impl Access {
    /// What `credential` stands for, with its secret.
    ///
    /// # Errors
    /// What is wrong with a key, without it.
    pub fn new(credential: &Credential, secret: SecretString) -> Result<Self, String> {
        let Credential::App { id, .. } = credential else { return Ok(Self::Token(secret)) };
        let text = secret.expose_secret();
        let lines: String = text.lines().map(str::trim).filter(|l| !l.starts_with('-')).collect();
        let wrong = || "the App's private key is no RSA key in PEM".to_string();
        let bytes = STANDARD.decode(lines).map_err(|_| wrong())?;
        // As GitHub gives it out (PKCS #1), or as other tools convert it (PKCS #8).
        let key = RsaKeyPair::from_der(&bytes).or_else(|_| RsaKeyPair::from_pkcs8(&bytes));
        Ok(Self::App { id: *id, key: Box::new(key.map_err(|_| wrong())?) })
    }

    /// The id of the App, if it is one.
    pub fn app(&self) -> Option<u64> {
        match self {
            Self::Token(_) => None,
            Self::App { id, .. } => Some(*id),
        }
    }
}

/// A JSON web token of the App `id`.
fn signature(id: u64, key: &RsaKeyPair, now_s: i64) -> Result<SecretString, String> {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let claims =
        json!({ "iss": id.to_string(), "iat": now_s - AHEAD_S, "exp": now_s + SIGNATURE_S });
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut bytes = vec![0; key.public().modulus_len()];
    let random = SystemRandom::new();
    key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut bytes)
        .map_err(|_| "the App's private key does not sign")?;
    Ok(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))))
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

#[derive(Deserialize)]
struct InstallationToken {
    token: String,
    expires_at: String,
}

impl<T: Transport, C: Clock> GitHub<T, C> {
    /// The token for `repository`.
    pub(super) async fn token(
        &self,
        repository: &RepositoryName,
    ) -> Result<SecretString, HubTrouble> {
        let (id, key) = match &self.access {
            Access::Token(token) => return Ok(token.clone()),
            Access::App { id, key } => (*id, key),
        };
        let now_us = self.clock.wall_us();
        let known = self.state().tokens.get(repository).cloned();
        if let Some((token, _)) = known.filter(|(_, end_us)| now_us < end_us - MARGIN_US) {
            return Ok(token);
        }
        let signature = signature(id, key, now_us / 1_000_000).map_err(HubTrouble::Away)?;
        let path = ["repos", repository.owner(), repository.name(), "installation"];
        let url = self.url(&path, &[])?;
        let found = self.exchange(Method::Get, url, signature.clone(), None, None).await?;
        let Installation { id } = parsed(&found.body)?;
        let path = ["app", "installations", &id.to_string(), "access_tokens"];
        // No wider than what it is for.
        let body = json!({ "repositories": [repository.name()] });
        let url = self.url(&path, &[])?;
        let made = self.exchange(Method::Post, url, signature, None, Some(body)).await?;
        let InstallationToken { token, expires_at } = parsed(&made.body)?;
        let token = SecretString::from(token);
        let end = DateTime::parse_from_rfc3339(&expires_at);
        let end_us = end.map_or(now_us, |end| end.timestamp_micros());
        self.state().tokens.insert(repository.clone(), (token.clone(), end_us));
        Ok(token)
    }
}
