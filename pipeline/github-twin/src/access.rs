//! Who asks, and what they may: tokens, the JSON web tokens of Apps, rights within a repository.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::Value;

use crate::reply::Reply;
use crate::state::{Bearer, Repository, State, Token, role};

/// The private key of every App of a twin, as GitHub gives one out: PKCS #1 in PEM.
pub(crate) const APP_KEY: &str = include_str!("../schemas/app-key.pem");

/// The longest life of an App's JSON web token, in seconds.
const JWT_SECONDS_MAX: i64 = 600;

/// What an operation needs: one of the permissions, at least this level of it, and of an account's
/// own token this role. The first match counts; reading metadata needs no line.
const NEEDS: &[(&str, &[&str], &str, &str)] = &[
    ("checks/create", &["checks"], "write", "write"),
    ("checks/update", &["checks"], "write", "write"),
    ("checks/list-for-ref", &["checks"], "read", "read"),
    ("issues/add-labels", &["issues", "pull_requests"], "write", "triage"),
    ("issues/create-comment", &["issues", "pull_requests"], "write", "read"),
    ("issues/create-label", &["issues", "pull_requests"], "write", "write"),
    ("issues/delete-comment", &["issues", "pull_requests"], "write", "read"),
    ("issues/remove-label", &["issues", "pull_requests"], "write", "triage"),
    ("issues/update-comment", &["issues", "pull_requests"], "write", "read"),
    ("issues/", &["issues", "pull_requests"], "read", "read"),
    ("pulls/", &["pull_requests"], "read", "read"),
    ("reactions/list", &["issues", "pull_requests"], "read", "read"),
    ("reactions/", &["issues", "pull_requests"], "write", "read"),
    ("repos/add-collaborator", &["administration"], "write", "admin"),
    ("repos/compare", &["contents"], "read", "read"),
    ("repos/create-commit-status", &["statuses"], "write", "write"),
    ("repos/get-collaborator-permission-level", &["metadata"], "read", "write"),
    ("repos/get-combined-status", &["statuses"], "read", "read"),
    ("repos/get-commit", &["contents"], "read", "read"),
    ("repos/get-content", &["contents"], "read", "read"),
    ("repos/list-collaborators", &["metadata"], "read", "write"),
    ("repos/list-commit-statuses", &["statuses"], "read", "read"),
    ("repos/list-invitations", &["administration"], "read", "admin"),
    ("repos/remove-collaborator", &["administration"], "write", "admin"),
];

/// Whom the header `authorization` stands for.
pub(crate) fn authenticate(state: &State, header: Option<&str>) -> Result<Token, Reply> {
    let token = |bearer| Token { bearer, expires_at: None, repositories: None, permissions: None };
    let Some(header) = header else { return Ok(token(Bearer::Nobody)) };
    let (scheme, value) = header.split_once(' ').unwrap_or(("", header));
    let is_known = ["bearer", "token"].contains(&scheme.to_ascii_lowercase().as_str());
    if is_known && value.split('.').count() == 3 {
        return match verify_jwt(state, value) {
            Ok(app) => Ok(token(Bearer::App(app))),
            Err(reason) => Err(Reply::refusal(401, reason)),
        };
    }
    let found = state.tokens.get(value).filter(|_| is_known);
    let found = found.filter(|token| token.expires_at.is_none_or(|end| state.now < end));
    found.cloned().ok_or_else(|| Reply::refusal(401, "Bad credentials"))
}

/// The App that signed a JSON web token, by the rules of GitHub's documentation.
fn verify_jwt(state: &State, token: &str) -> Result<u64, &'static str> {
    const UNREADABLE: &str = "A JSON web token could not be decoded";
    let (signed, signature) = token.rsplit_once('.').ok_or(UNREADABLE)?;
    let (header, claims) = signed.split_once('.').ok_or(UNREADABLE)?;
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| UNREADABLE);
    let object =
        |part: &str| serde_json::from_slice::<Value>(&bytes(part)?).map_err(|_| UNREADABLE);
    let (header, claims) = (object(header)?, object(claims)?);
    if header["alg"] != "RS256" {
        return Err(UNREADABLE);
    }
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key());
    key.verify(signed.as_bytes(), &bytes(signature)?).map_err(|_| UNREADABLE)?;
    let issuer = match &claims["iss"] {
        Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    };
    let app = issuer.filter(|id| state.apps.contains_key(id)).ok_or("Integration not found")?;
    let (issued, end) = (claims["iat"].as_i64(), claims["exp"].as_i64());
    let issued = issued.filter(|at| *at <= state.now);
    issued.ok_or("'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")?;
    let end = end.filter(|at| *at <= state.now + JWT_SECONDS_MAX);
    let end = end.ok_or("'Expiration time' claim ('exp') is too far in the future")?;
    if end <= state.now {
        return Err(
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
        );
    }
    Ok(app)
}

fn public_key() -> Vec<u8> {
    let lines = APP_KEY.lines().filter(|line| !line.starts_with('-'));
    let der = STANDARD.decode(lines.collect::<String>()).unwrap();
    RsaKeyPair::from_der(&der).unwrap().public_key().as_ref().to_vec()
}

/// The account in whose name a bearer acts, where it has one.
pub(crate) fn account_of(state: &State, bearer: Bearer) -> Option<u64> {
    match bearer {
        Bearer::Nobody | Bearer::App(_) => None,
        Bearer::Account(id) => Some(id),
        Bearer::Installation(id) => {
            let app = state.installations.get(&id).map(|installation| installation.app);
            app.map(|app| state.apps[&app].account)
        }
    }
}

/// What the bearer of a token may do in a repository, whatever its permissions: an App's installation may write
/// where it is installed.
pub(crate) fn role_of(state: &State, token: &Token, repository: &Repository) -> usize {
    let anyone = if repository.is_private { role("none") } else { role("read") };
    match token.bearer {
        Bearer::Nobody | Bearer::App(_) => anyone,
        Bearer::Account(id) => state.role(repository, id),
        Bearer::Installation(id) => {
            let found = state.installations.get(&id);
            let is_installed = found.is_some_and(|it| it.repositories.contains(&repository.id));
            let mut limits = token.repositories.iter();
            if is_installed && limits.all(|only| only.contains(&repository.id)) {
                role("write")
            } else {
                anyone
            }
        }
    }
}

/// Whether the bearer of `token` may do `operation` in the repository; a refusal says no more than
/// GitHub would: what cannot be seen is not found.
pub(crate) fn authorize(
    state: &State,
    token: &Token,
    operation: &str,
    is_write: bool,
    repository: &Repository,
) -> Result<(), Reply> {
    let has = role_of(state, token, repository);
    if has < role("read") {
        return Err(Reply::not_found());
    }
    if is_write && account_of(state, token.bearer).is_none() {
        return Err(match token.bearer {
            Bearer::Nobody => Reply::refusal(401, "Requires authentication"),
            _ => Reply::refusal(403, "Resource not accessible by integration"),
        });
    }
    let need = NEEDS.iter().find(|(name, ..)| operation.starts_with(name));
    let Some((_, names, level, least)) = need else { return Ok(()) };
    let is_app = matches!(token.bearer, Bearer::Installation(_));
    if operation.starts_with("checks/") && is_write && !is_app {
        return Err(Reply::refusal(403, "You must authenticate via a GitHub App."));
    }
    if let Some(permissions) = &token.permissions {
        let satisfies = |name: &&str| match permissions.get(*name).map(String::as_str) {
            Some("write") => true,
            Some("read") => *level == "read",
            _ => *name == "metadata",
        };
        let is_public_read = !is_write && !repository.is_private;
        if !is_public_read && !names.iter().any(satisfies) {
            let kind = if is_app { "integration" } else { "personal access token" };
            return Err(Reply::refusal(403, &format!("Resource not accessible by {kind}")));
        }
    }
    if has < role(least) {
        return Err(match operation {
            "repos/get-collaborator-permission-level" | "repos/list-collaborators" => {
                Reply::refusal(403, "Must have push access to view repository collaborators.")
            }
            _ if is_write => Reply::refusal(403, "Must have admin rights to Repository."),
            _ => Reply::not_found(),
        });
    }
    Ok(())
}
