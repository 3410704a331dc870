//! Where Debian packages come from on this machine: a setting of the machine, never of the
//! project, hence never in a lock or in the repository.

use std::fs;
use std::path::Path;

use dyno_base::error::{Error, Result};

/// Suites whose archive root serves the main archive of every suite.
const RELEASES: [&str; 7] =
    ["stable", "testing", "unstable", "sid", "oldstable", "oldoldstable", "experimental"];
const CODENAMES: [&str; 8] =
    ["buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid", "stretch"];

/// How an address begins that names a file of addresses.
const MIRROR_FILE: &str = "mirror+file:";

/// The root of a mirror, without a slash at its end: `option` (`--mirror`), else
/// `DYNO_DEBIAN_MIRROR` as `from_env`, else the first main archive of the apt sources in
/// `etc_apt` (`/etc/apt`).
pub fn find(option: Option<&str>, from_env: Option<&str>, etc_apt: &Path) -> Result<String> {
    for (written, place) in [(option, "--mirror"), (from_env, "DYNO_DEBIAN_MIRROR")] {
        let Some(written) = written.filter(|text| !text.is_empty()) else { continue };
        return match url::Url::parse(written) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                Ok(written.trim_end_matches('/').to_string())
            }
            _ => Err(Error::input(format!("{place} is \"{written}\", which is not a mirror"))
                .hint("the address of a Debian mirror: http or https, down to the folder that holds dists/ and pool/")),
        };
    }
    for (text, deb822) in sources(etc_apt) {
        let found = if deb822 { from_deb822(&text) } else { from_list(&text) };
        if let Some(uri) = found.and_then(|uri| from_mirror_file(uri, etc_apt)) {
            return Ok(uri.trim_end_matches('/').to_string());
        }
    }
    Err(Error::host("no Debian mirror is known on this machine").hint(
        "name one with --mirror URL or DYNO_DEBIAN_MIRROR=URL (the folder that holds dists/ and pool/)",
    ))
}

/// The texts of apt's source files, in apt's order, and whether each is in deb822 form.
fn sources(etc_apt: &Path) -> Vec<(String, bool)> {
    let mut paths = vec![etc_apt.join("sources.list")];
    let folder = fs::read_dir(etc_apt.join("sources.list.d")).into_iter().flatten().flatten();
    let mut part_paths: Vec<_> = folder.map(|entry| entry.path()).collect();
    part_paths.sort();
    paths.extend(part_paths);
    let is_deb822 = |path: &Path| path.extension().and_then(|e| e.to_str()).map(|e| e == "sources");
    paths
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "list" || e == "sources"))
        .filter_map(|path| Some((fs::read_to_string(path).ok()?, is_deb822(path)?)))
        .collect()
}

fn is_main_archive(
    uri: &str,
    suite: &str,
    mut components: impl Iterator<Item = impl AsRef<str>>,
) -> bool {
    let is_web = is_web(uri) || uri.starts_with(MIRROR_FILE);
    let has_main = components.any(|component| component.as_ref() == "main");
    is_web && has_main && (RELEASES.contains(&suite) || CODENAMES.contains(&suite))
}

fn is_web(uri: &str) -> bool {
    uri.starts_with("http://") || uri.starts_with("https://")
}

/// The address that `uri` stands for: itself, or the first of the list of mirrors that it names, as
/// in Debian's images for clouds (apt-transport-mirror(1)).
fn from_mirror_file(uri: String, etc_apt: &Path) -> Option<String> {
    let Some(path) = uri.strip_prefix(MIRROR_FILE) else { return Some(uri) };
    let path = path.strip_prefix("//").unwrap_or(path);
    // Below the apt sources that are meant, which a test puts elsewhere.
    let path = path.strip_prefix("/etc/apt/").map_or_else(|| path.into(), |p| etc_apt.join(p));
    let text = fs::read_to_string(path).ok()?;
    let mut addresses = text.lines().filter_map(|line| line.split_whitespace().next());
    addresses.find(|address| is_web(address)).map(str::to_string)
}

/// One-line form: `deb [options] uri suite component…` (sources.list(5)).
fn from_list(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or("").trim();
        let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        is_main_archive(uri, suite, words).then(|| uri.to_string())
    })
}

/// deb822 form: paragraphs of `Types`, `URIs`, `Suites`, `Components`, `Enabled`.
fn from_deb822(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).find_map(|paragraph| {
        let words_of = |name: &str| -> Vec<&str> {
            let mut words = Vec::new();
            let mut inside = false;
            for line in paragraph {
                if line.starts_with([' ', '\t']) {
                    if inside {
                        words.extend(line.split_whitespace());
                    }
                    continue;
                }
                let (key, value) = line.split_once(':').unwrap_or((line, ""));
                inside = key.eq_ignore_ascii_case(name);
                if inside {
                    words.extend(value.split_whitespace());
                }
            }
            words
        };
        let is_disabled = words_of("Enabled").first().is_some_and(|word| {
            ["no", "false", "without", "off", "disable"].contains(&word.to_lowercase().as_str())
        });
        if is_disabled || !words_of("Types").contains(&"deb") {
            return None;
        }
        let (suites, components) = (words_of("Suites"), words_of("Components"));
        words_of("URIs")
            .into_iter()
            .find(|uri| suites.iter().any(|suite| is_main_archive(uri, suite, components.iter())))
            .map(str::to_string)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_sources() {
        let u = "http://example.org/debian";
        for (text, deb822, found) in [
            (format!("deb {u} trixie main"), false, true),
            (format!("  deb [arch=amd64 signed-by=/x] {u} bookworm contrib main # x"), false, true),
            (format!("# deb {u} trixie main"), false, false),
            (format!("deb-src {u} trixie main"), false, false),
            (format!("deb {u} trixie contrib"), false, false),
            (format!("deb {u} trixie-security main"), false, false),
            (format!("deb {u} tool-trixie main"), false, false),
            ("deb file:/srv/debian trixie main".to_string(), false, false),
            (
                format!(
                    "Types: deb deb-src\nURIs: {u}\nSuites: trixie-updates trixie\nComponents: main"
                ),
                true,
                true,
            ),
            (
                format!("Types: deb\nURIs:\n {u}/\nSuites: trixie\nComponents: main\nEnabled: yes"),
                true,
                true,
            ),
            (
                format!("Types: deb\nURIs: {u}\nSuites: trixie\nComponents: main\nEnabled: no"),
                true,
                false,
            ),
            (format!("Types: deb-src\nURIs: {u}\nSuites: trixie\nComponents: main"), true, false),
            (
                format!(
                    "Types: deb\nURIs: http://x\nSuites: trixie-security\nComponents: main\n\nTypes: deb\n# c\nURIs: {u}\nSuites: trixie\nComponents: main"
                ),
                true,
                true,
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("sources.list.d")).unwrap();
            let name = if deb822 { "sources.list.d/a.sources" } else { "sources.list.d/a.list" };
            fs::write(folder.path().join(name), &text).unwrap();
            let answer = find(None, None, folder.path());
            assert_eq!(answer.ok().as_deref(), found.then_some(u), "{text}");
        }
    }

    #[test]
    fn a_list_of_mirrors_is_read() {
        let u = "http://example.org/debian";
        for (list, found) in [
            (format!("{u}\n"), true),
            (
                format!("# ours\n\nfile:/srv/debian\n{u}/\tpriority:1 arch:amd64\nhttp://other\n"),
                true,
            ),
            ("# none\n".to_string(), false),
        ] {
            for source in [
                "deb mirror+file:/etc/apt/mirrors/debian.list trixie main",
                "deb mirror+file:///etc/apt/mirrors/debian.list trixie main",
            ] {
                let folder = tempfile::tempdir().unwrap();
                fs::create_dir(folder.path().join("mirrors")).unwrap();
                fs::write(folder.path().join("sources.list"), source).unwrap();
                fs::write(folder.path().join("mirrors/debian.list"), &list).unwrap();
                let answer = find(None, None, folder.path());
                assert_eq!(answer.ok().as_deref(), found.then_some(u), "{list}");
            }
        }
    }

    #[test]
    fn what_is_given_comes_first_and_nothing_names_both_ways() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sources.list"), "deb http://c/debian trixie main").unwrap();
        let find = |given, env| find(given, env, folder.path());
        assert_eq!(find(Some("http://a/"), Some("http://b")).unwrap(), "http://a");
        assert_eq!(find(None, Some("http://b")).unwrap(), "http://b");
        assert_eq!(find(None, Some("")).unwrap(), "http://c/debian");
        assert!(find(Some("a"), None).is_err());
        fs::remove_file(folder.path().join("sources.list")).unwrap();
        let hint = find(None, None).unwrap_err().hint.unwrap();
        assert!(hint.contains("--mirror") && hint.contains("DYNO_DEBIAN_MIRROR"));
    }
}
