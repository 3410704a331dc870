//! The key of this machine, with which its run rows are signed: a file that nobody else may read.

use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use dyno_base::atomic_file;
use dyno_base::error::{Error, Result, WithContext};
use dyno_model::catalog::host::Host;
use dyno_model::host_key::PublicKey;
use dyno_store::{SigningKey, Store};

/// Names another place for the key, such as one that the service manager fills.
pub const VARIABLE: &str = "DYNO_HOST_KEY";

/// The key of this machine, which is at `path`; `None` where it has none.
pub fn load(path: &Path) -> Result<Option<SigningKey>> {
    let shown = path.display();
    let mode = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        metadata => metadata.context(|| format!("looking at {shown}"))?.permissions().mode(),
    };
    if mode & 0o077 != 0 {
        let problem = format!("{shown} can be read by others (mode {:03o})", mode & 0o777);
        return Err(Error::host(problem).hint(format!(
            "it is the private key of this host: chmod 600 {shown}; if others may have read it, \
             remove it and make another with `dyno host key`"
        )));
    }
    let text = std::fs::read_to_string(path).context(|| format!("reading {shown}"))?;
    let key = SigningKey::from_text(&text);
    key.map(Some).map_err(|why| Error::host(format!("{shown} holds no private key: {why}")))
}

/// The public half of this machine's key at `path`, which is made where there is none. It never lies
/// in the store at `store`, which others read.
pub fn make(path: &Path, store: &str) -> Result<PublicKey> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).to_path_buf();
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(&folder);
    made.context(|| format!("making {}", folder.display()))?;
    let store = Path::new(store.strip_prefix("file://").unwrap_or(store));
    if let (Ok(store), Ok(folder)) = (store.canonicalize(), folder.canonicalize())
        && folder.starts_with(&store)
    {
        let problem = format!("the key would lie in the store, as {}", path.display());
        return Err(Error::input(problem).hint(format!("{VARIABLE} names another place for it")));
    }
    if let Some(key) = load(path)? {
        return Ok(key.public_key());
    }
    let key = SigningKey::generate().map_err(Error::host)?;
    let written = atomic_file::replace(path, key.to_text().as_bytes(), 0o600);
    written.context(|| format!("writing {}", path.display()))?;
    Ok(key.public_key())
}

/// Fails where the file of `host` has a public key and `store` signs with another, or none: its
/// rows would be set aside by everybody who reads them.
pub fn check(host: &Host, store: &Store) -> Result<()> {
    let Some(expected) = &host.public_key else { return Ok(()) };
    let found = store.public_key();
    if found.as_ref() == Some(expected) {
        return Ok(());
    }
    let found = found.map_or("this machine has no key".into(), |key| {
        format!("the key of this machine is {key}")
    });
    let problem = format!("hosts/{}.toml has the public key {expected}, and {found}", host.name);
    Err(Error::host(problem).hint(
        "name this machine's own file by --host; or write what `dyno host key` prints into this one, \
         and the former key into `former_public_keys`",
    ))
}
