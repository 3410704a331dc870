//! What a recipe's steps find around them: variables, Cargo's configuration without its secrets,
//! the network for the fetch step alone, and folders that are the build user's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dyno_model::catalog::suite::{Recipe, fill};
use dyno_model::id::CommitId;

use dyno_base::error::{Result, WithContext};
use dyno_engine::{Mount, base_env};

/// The environment of a recipe's steps. The commit's id is part of an artifact's key, so a recipe may
/// hand it on to a build that would ask git for it.
pub fn build_env(recipe: &Recipe, commit: Option<&CommitId>) -> BTreeMap<String, String> {
    let mut env = base_env();
    env.insert("CARGO_HOME".into(), "/cargo".into());
    env.insert("CARGO_TARGET_DIR".into(), "/build".into());
    env.insert("SOURCE_DATE_EPOCH".into(), "0".into());
    let values = commit.map(|commit| ("commit", commit.hex())).into_iter().collect();
    env.extend(recipe.env.iter().map(|(name, value)| (name.clone(), fill(value, &values))));
    env
}

/// The host's certificates and proxies, for the one step that has the network.
pub(crate) fn grant_network(mounts: &mut Vec<Mount>, env: &mut BTreeMap<String, String>) {
    const INSIDE: &str = "/etc/ssl/certs/ca-certificates.crt";
    let usual_bundles = [INSIDE, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    let bundle =
        std::env::var("SSL_CERT_FILE").ok().into_iter().chain(usual_bundles.map(String::from));
    if let Some(bundle) =
        bundle.filter_map(|file| fs::canonicalize(file).ok()).find(|f| f.is_file())
    {
        mounts.push(Mount::read_only(bundle, INSIDE));
        for name in ["SSL_CERT_FILE", "CARGO_HTTP_CAINFO", "GIT_SSL_CAINFO"] {
            env.insert(name.into(), INSIDE.into());
        }
    }
    for name in ["http_proxy", "https_proxy", "no_proxy", "all_proxy"] {
        for name in [name.to_string(), name.to_uppercase()] {
            if let Ok(value) = std::env::var(&name) {
                env.insert(name, value);
            }
        }
    }
}

/// Gives the build the host's own choice of registries and network, and nothing else of its Cargo
/// configuration: linkers and wrappers of the host have no meaning in an image.
pub(crate) fn cargo_configuration(cargo: &Path) -> Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let text = home.and_then(|home| {
        ["config.toml", "config"].iter().find_map(|name| fs::read_to_string(home.join(name)).ok())
    });
    let Some(Ok(table)) = text.map(|text| text.parse::<toml::Table>()) else { return Ok(()) };
    let wanted = ["source", "registries", "registry", "http", "net"];
    let mut kept_tables: toml::Table =
        table.into_iter().filter(|(k, _)| wanted.contains(&k.as_str())).collect();
    strip_credentials(&mut kept_tables);
    if kept_tables.is_empty() {
        return Ok(());
    }
    let file = cargo.join("config.toml");
    fs::write(&file, kept_tables.to_string()).context(|| format!("writing {}", file.display()))
}

/// Takes out what logs in somewhere, at whatever depth: it is the host's, and a build is a
/// stranger.
fn strip_credentials(table: &mut toml::Table) {
    const SECRETS: [&str; 6] = [
        "token",
        "secret-key",
        "secret-key-subject",
        "credential-provider",
        "global-credential-providers",
        "credential-process",
    ];
    let harmless = std::mem::take(table).into_iter().filter(|(key, _)| !SECRETS.contains(&&**key));
    *table =
        harmless.map(|(key, value)| (without_login(&key), without_credentials(value))).collect();
}

fn without_credentials(value: toml::Value) -> toml::Value {
    match value {
        toml::Value::Table(mut table) => {
            strip_credentials(&mut table);
            table.into()
        }
        toml::Value::Array(values) => {
            toml::Value::Array(values.into_iter().map(without_credentials).collect())
        }
        toml::Value::String(text) => without_login(&text).into(),
        other => other,
    }
}

/// A URL without user and password (RFC 3986, 3.2.1), and a proxy without them that has no scheme.
/// Of SSH the user stays, who is part of the address and no secret.
fn without_login(text: &str) -> String {
    let (scheme, rest) = text.find("://").map_or(("", text), |at| text.split_at(at + 3));
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let Some((login, host)) = authority.rsplit_once('@') else { return text.into() };
    let user = match login.split_once(':') {
        _ if scheme.ends_with("ssh://") => login.split(':').next(),
        // What scp writes: the user of a machine.
        None if scheme.is_empty() => Some(login),
        _ => None,
    };
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    format!("{scheme}{user}{host}{path}")
}

/// Makes everything below `folder` the build user's, where this process may.
pub(crate) fn chown_recursive(folder: &Path, (uid, gid): (u32, u32)) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let doing = || format!("giving {} to the build", folder.display());
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        std::os::unix::fs::lchown(&next, Some(uid), Some(gid)).context(doing)?;
        for entry in fs::read_dir(&next).context(doing)? {
            let entry = entry.context(doing)?;
            if entry.file_type().context(doing)?.is_dir() {
                folders.push(entry.path());
            } else {
                std::os::unix::fs::lchown(entry.path(), Some(uid), Some(gid)).context(doing)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_cargos_configuration_is_lent() {
        let text = "[registry]\ntoken = \"s3\"\nglobal-credential-providers = [\"x\"]\ndefault = \"a\"\n\
            [registries.a]\nindex = \"sparse+https://a.example/\"\ntoken = \"s3\"\nsecret-key = \"s3\"\n\
            credential-provider = [\"x\"]\n[http]\nmultiplexing = false\n";
        let mut table: toml::Table = text.parse().unwrap();
        strip_credentials(&mut table);
        let kept = "[registry]\ndefault = \"a\"\n\
            [registries.a]\nindex = \"sparse+https://a.example/\"\n[http]\nmultiplexing = false\n";
        assert_eq!(table, kept.parse().unwrap());
        for (lent, had) in [
            ("https://h.example/a@b", "https://h.example/a@b"),
            ("https://h.example/a", "https://u:s3@h.example/a"),
            ("https://h.example", "https://s3@h.example"),
            ("https://h.example?q", "https://u:s3@x@h.example?q"),
            ("sparse+https://h.example:8/", "sparse+https://u:s3@h.example:8/"),
            ("ssh://git@h.example/a", "ssh://git:s3@h.example/a"),
            ("git@h.example:a/b", "git@h.example:a/b"),
            ("socks5://h.example:1", "socks5://u:s3@h.example:1"),
            ("h.example:1", "u:s3@h.example:1"),
            ("a", "a"),
        ] {
            let text = |url: &str| {
                format!(
                    "http = {{ proxy = '{url}' }}\nregistries = {{ a = {{ index = '{url}' }} }}\n\
                     [source.'{url}']\nregistry = '{url}'\nlist = ['{url}']\n"
                )
            };
            let mut table: toml::Table = text(had).parse().unwrap();
            strip_credentials(&mut table);
            assert_eq!(table, text(lent).parse().unwrap(), "{had}");
        }
    }
}
