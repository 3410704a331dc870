//! Where the submodules of a commit come from, by its `.gitmodules`.
//!
//! A stranger may have written that file. An address goes through the same checks as a suite's own,
//! and one on this machine counts only in a repository that is on this machine itself.

use std::collections::BTreeMap;
use std::path::Path;

use dyno_base::error::{Error, Result};
use dyno_model::catalog::suite::check_git_location;
use dyno_model::id::CommitId;

use super::command::{git, run_git};
use super::local;
use super::remote::{Remote, Repository, is_address};

/// Path → address of the submodules that `.gitmodules` of `commit` names; none where it has no such
/// file that git can read.
pub(super) async fn addresses(
    repository: &Repository,
    commit: &CommitId,
) -> BTreeMap<String, String> {
    let blob = format!("{}:.gitmodules", commit.hex());
    let listing = repository.git(&["config", "--blob", &blob, "--list", "--null"]);
    let listing = run_git(listing).await.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&listing);
    let (mut paths, mut urls) = (BTreeMap::new(), BTreeMap::new());
    for entry in text.split('\0') {
        let Some((key, value)) = entry.split_once('\n') else { continue };
        let Some(key) = key.strip_prefix("submodule.") else { continue };
        match key.rsplit_once('.') {
            Some((name, "path")) => drop(paths.insert(name, value)),
            Some((name, "url")) => drop(urls.insert(name, value)),
            _ => {}
        }
    }
    let address = |(name, path): (&str, &str)| Some((path.into(), (*urls.get(name)?).into()));
    paths.into_iter().filter_map(address).collect()
}

/// The remote of the submodule at `path` of a commit of `parent`.
pub(super) async fn remote(
    parent: &Repository,
    addresses: &BTreeMap<String, String>,
    path: &Path,
) -> Result<Remote> {
    let remote =
        parent.remote.as_ref().ok_or_else(|| Error::input("a release or a bundle has none"))?;
    let address = path.to_str().and_then(|path| addresses.get(path));
    let address = address.ok_or_else(|| Error::input(".gitmodules has no address of it"))?;
    let is_relative = ["./", "../"].iter().any(|start| address.starts_with(start));
    let url = match is_relative {
        true => relative_url(&base_url(&remote.url).await, address)?,
        false => address.clone(),
    };
    let refuse = |why: &str| Error::input(format!("{:?} {why}", url.escape_debug().to_string()));
    check_git_location(&url).map_err(|expected| refuse(&format!("is not {expected}")))?;
    let is_local = |url: &str| url.starts_with('/') || url.starts_with("file:");
    if !is_local(&url) && !is_address(&url) {
        return Err(refuse("is neither an address nor relative to its parent's"));
    }
    if is_local(&url) && !is_local(&remote.url) {
        return Err(refuse("is on this machine, and its parent is not"));
    }
    Ok(Remote { url, cache: remote.cache.clone() })
}

/// What addresses are relative to: of a clone on this machine, as git has it, where it came from.
async fn base_url(url: &str) -> String {
    let Some(folder) = local::folder_of(url) else { return url.into() };
    let mut git = git();
    git.arg("-C").arg(folder).args(["config", "--get", "remote.origin.url"]);
    let origin = run_git(git).await.map(|output| output.stdout).unwrap_or_default();
    let origin = String::from_utf8_lossy(&origin).trim().to_string();
    if origin.starts_with('/') || is_address(&origin) { origin } else { url.into() }
}

/// `relative` (`./…`, `../…`) from `base`, as git-submodule(1) has it.
fn relative_url(base: &str, relative: &str) -> Result<String> {
    let (mut base, mut rest) = (base.trim_end_matches('/').to_string(), relative);
    let mut separator = '/';
    loop {
        if let Some(next) = rest.strip_prefix("./") {
            rest = next;
        } else if let Some(next) = rest.strip_prefix("../") {
            rest = next;
            let above = base.rfind(['/', ':']).filter(|at| !base[..*at].ends_with([':', '/']));
            let Some(at) = above else {
                return Err(Error::input(format!("{relative:?} leads out of {base}")));
            };
            separator = base[at..].chars().next().unwrap_or('/');
            base.truncate(at);
        } else {
            let rest = rest.trim_end_matches('/');
            return Ok(format!("{base}{separator}{rest}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_relative_to_their_parents() {
        for (base, relative, expected) in [
            ("https://h/g/a.git", "../b.git", Some("https://h/g/b.git")),
            ("https://h/g/a.git/", "../../x/b", Some("https://h/x/b")),
            ("https://h/g/a", "./b", Some("https://h/g/a/b")),
            ("git@h:g/a", "../b", Some("git@h:g/b")),
            ("git@h:a", "../b", Some("git@h:b")),
            ("/srv/a", "../b/", Some("/srv/b")),
            ("file:///srv/a", "../b", Some("file:///srv/b")),
            ("https://h/a", "../../../../etc", None),
            ("/a", "../../../x", None),
        ] {
            let found = relative_url(base, relative).ok();
            assert_eq!(found.as_deref(), expected, "{base} {relative}");
        }
    }

    #[tokio::test]
    async fn no_remote_repository_names_one_of_this_machine() {
        for (parent, address, is_taken) in [
            ("https://h/g/a", "../b", true),
            ("https://h/g/a", "https://i/b", true),
            ("https://h/g/a", "git@i:b", true),
            ("https://h/g/a", "/srv/b", false),
            ("https://h/g/a", "file:///srv/b", false),
            ("https://h/g/a", "file://localhost/srv/b", false),
            ("https://h/g/a", "b", false),
            ("https://h/g/a", "-u", false),
            ("https://h/g/a", "ext::sh -c x", false),
            ("/srv/a", "../b", true),
            ("/srv/a", "/srv/b", true),
            ("/srv/a", "file:///srv/b", true),
            ("file:///srv/a", "/srv/b", true),
            ("/srv/a", "https://h/b", true),
        ] {
            let remote_of = |url: &str| Remote { url: url.into(), cache: "/cache".into() };
            let parent_repository =
                Repository { folder: "/r".into(), remote: Some(remote_of(parent)) };
            let addresses = BTreeMap::from([("dep".to_string(), address.to_string())]);
            let found = remote(&parent_repository, &addresses, Path::new("dep")).await;
            assert_eq!(found.is_ok(), is_taken, "{parent} {address}: {found:?}");
            assert!(remote(&parent_repository, &addresses, Path::new("other")).await.is_err());
        }
    }
}
