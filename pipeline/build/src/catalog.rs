//! The catalog: the folder with `suites/`, `images/`, `hosts/`, `policies/` and `watches/`, and the
//! second reading of what is in them: whether the files they name are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dyno_model::catalog::host::{self, Host};
use dyno_model::catalog::policy::{self, Policy};
use dyno_model::catalog::reader::{is_name, suggest_of};
use dyno_model::catalog::suite::{self, CrateSource, Suite, Workload};
use dyno_model::catalog::watch::{self, Watch};
use dyno_model::host_key::PublicKey;
use dyno_model::id::Digest;

use crate::definition::Definition;
use dyno_base::error::{Error, Result, WithContext};

#[derive(Clone)]
pub struct Catalog {
    root: PathBuf,
}

/// A suite and the folder it lies in.
pub struct LoadedSuite {
    pub suite: Suite,
    pub folder: PathBuf,
    /// Digest of every file in the folder.
    pub digest: Digest,
    /// The files of the folder, as they were when the digest was taken.
    pub definition: Definition,
}

impl LoadedSuite {
    /// The files that programs and builds may see of the suite's folder: no answers.
    pub fn visible(&self) -> Definition {
        let resolve = |name: &str| self.definition.resolve(name);
        let hidden = self.suite.hidden_files();
        let read: BTreeSet<String> =
            self.suite.read_files().into_iter().filter_map(resolve).collect();
        // Also under the names that links have for them.
        let behind_links: Vec<String> =
            hidden.iter().filter_map(|name| resolve(name)).filter(|n| !read.contains(n)).collect();
        let behind_links = behind_links.iter().map(String::as_str);
        self.definition.without(&hidden.iter().copied().chain(behind_links).collect())
    }

    /// The content of the suite's file `path`, as it was when the digest was taken.
    pub fn file(&self, path: &str) -> Result<&[u8]> {
        self.definition.bytes(path).ok_or_else(|| {
            Error::input(format!("{path} is not among the files of the suite {}", self.suite.name))
        })
    }
}

impl Catalog {
    /// The catalog at `folder`, else the nearest one from the current folder upwards.
    pub fn open(folder: Option<&Path>) -> Result<Self> {
        let is_catalog =
            |folder: &Path| folder.join("suites").is_dir() && folder.join("images").is_dir();
        if let Some(root) = folder {
            if is_catalog(root) {
                // Engines want absolute paths of what they mount.
                let root = root.canonicalize().context(|| format!("finding {}", root.display()))?;
                return Ok(Self { root });
            }
            return Err(Error::input(format!("{} is no catalog", root.display()))
                .hint("a catalog is a folder with suites/, images/, hosts/ and policies/"));
        }
        let current = std::env::current_dir().context(|| "finding the current folder".into())?;
        let root = current.ancestors().find(|folder| is_catalog(folder)).ok_or_else(|| {
            Error::input(format!("no catalog in {} or above it", current.display())).hint(
                "run dyno in its checkout, or name a folder with suites/ and images/ by --catalog or DYNO_CATALOG",
            )
        })?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// The folder of the catalog.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn keys(&self) -> PathBuf {
        self.root.join("images/keys")
    }

    /// The folder of the image `name`, if there is one.
    pub fn image(&self, name: &str) -> Result<PathBuf> {
        self.find("images", "image", name, "image.toml")
            .map(|file| file.parent().expect("the file is in a folder").to_path_buf())
    }

    /// The names of all images.
    pub fn images(&self) -> Vec<String> {
        self.names("images", "image.toml")
    }

    /// The names of all suites.
    pub fn suites(&self) -> Vec<String> {
        self.names("suites", "suite.toml")
    }

    /// The folder of the suite `name`, whether or not it is there.
    pub fn suite_folder(&self, name: &str) -> PathBuf {
        self.root.join("suites").join(name)
    }

    pub fn host(&self, name: &str) -> Result<Host> {
        let file = self.find("hosts", "host", name, "")?;
        Ok(host::parse(name, &self.display_path(&file), &read(&file)?)?)
    }

    /// The keys that the rows of each host may be signed with.
    ///
    /// # Errors
    /// What is wrong with any host's file: a key that is passed over in silence would let rows count
    /// that should not.
    pub fn host_keys(&self) -> Result<BTreeMap<String, Vec<PublicKey>>> {
        let names = self.names("hosts", "").into_iter().filter(|name| is_name(name));
        let keys = names.map(|name| {
            let host = self.host(&name)?;
            Ok((name, host.public_key.into_iter().chain(host.former_public_keys).collect()))
        });
        keys.collect()
    }

    pub fn policy(&self, name: &str) -> Result<Policy> {
        let file = self.find("policies", "policy", name, "")?;
        Ok(policy::parse(name, &self.display_path(&file), &read(&file)?, &self.axes())?)
    }

    /// Whether there is a host called `name`.
    pub fn has_host(&self, name: &str) -> bool {
        self.find("hosts", "host", name, "").is_ok()
    }

    /// The folder of the watched branches.
    pub fn watches_folder(&self) -> PathBuf {
        self.root.join("watches")
    }

    /// The watched branches `names`, or all where none is named; the mistakes of all of their files at
    /// once.
    pub fn watches(&self, names: &[String]) -> Result<Vec<Watch>> {
        let all = self.names("watches", "");
        let (mut watches, mut wrong) = (Vec::new(), Vec::new());
        for name in if names.is_empty() { &all } else { names } {
            let file = self.find("watches", "watch", name, "")?;
            match watch::parse(name, &self.display_path(&file), &read(&file)?) {
                Ok(watch) => watches.push(watch),
                Err(mistakes) => wrong.push(mistakes),
            }
        }
        if wrong.is_empty() {
            return Ok(watches);
        }
        let messages: Vec<String> =
            wrong.iter().map(|mistakes| Error::from(mistakes.clone()).message).collect();
        Err(Error { mistakes: wrong, ..Error::input(messages.join("; ")) })
    }

    /// The axes of all suites here that can be read: what a policy may name.
    fn axes(&self) -> Vec<String> {
        let folders = std::fs::read_dir(self.root.join("suites")).into_iter().flatten().flatten();
        let axes_of_suite = |entry: std::fs::DirEntry| {
            let text = std::fs::read_to_string(entry.path().join("suite.toml")).ok()?;
            let suite = suite::parse(entry.file_name().to_str()?, "suite.toml", &text).ok()?;
            Some(suite.axes.into_keys())
        };
        folders.filter_map(axes_of_suite).flatten().collect()
    }

    pub fn suite(&self, name: &str) -> Result<LoadedSuite> {
        self.load_suite(name, true)
    }

    /// What `suite.toml` of the suite `name` says, and the suite's folder; `None` where it cannot be
    /// read. Whether the files that it names are there is not looked at.
    pub fn definition_of_suite(&self, name: &str) -> Option<(Suite, PathBuf)> {
        let file = self.find("suites", "suite", name, "suite.toml").ok()?;
        let suite = suite::parse(name, &self.display_path(&file), &read(&file).ok()?).ok()?;
        Some((suite, file.parent()?.to_path_buf()))
    }

    /// The names of all hosts.
    pub fn hosts(&self) -> Vec<String> {
        self.names("hosts", "")
    }

    /// The suite `name`, whose expected answers need not be there yet.
    pub fn suite_without_answers(&self, name: &str) -> Result<LoadedSuite> {
        self.load_suite(name, false)
    }

    fn load_suite(&self, name: &str, needs_answers: bool) -> Result<LoadedSuite> {
        let file = self.find("suites", "suite", name, "suite.toml")?;
        let suite = suite::parse(name, &self.display_path(&file), &read(&file)?)?;
        let folder = file.parent().expect("the file is in a folder").to_path_buf();
        let mut missing = Vec::new();
        for benchmark in &suite.benchmarks {
            let named_files: Vec<String> = match &benchmark.work {
                Workload::Program(program) => {
                    let answer = program.expected.file().filter(|_| needs_answers);
                    let stdin = program.stdin.as_deref();
                    answer.into_iter().chain(stdin).map(String::from).collect()
                }
                Workload::CrateCompilation(krate) => {
                    let manifest = match &krate.source {
                        CrateSource::Folder(path) => Some(format!("{path}/Cargo.toml")),
                        CrateSource::Release { .. } => None,
                    };
                    manifest.into_iter().chain(krate.patch.clone()).collect()
                }
                Workload::CrateGraphBuild(_) => Vec::new(),
            };
            for path in &named_files {
                if !folder.join(path).is_file() {
                    missing.push(format!("{path} (benchmark {})", benchmark.name));
                }
            }
        }
        if let Some(path) = suite.build.as_ref().and_then(|recipe| recipe.folder.as_ref())
            && !folder.join(path).is_dir()
        {
            missing.push(format!("{path} (the build's folder)"));
        }
        if !missing.is_empty() {
            let wrong = format!(
                "{} names files that are not there: {}",
                self.display_path(&file),
                missing.join(", ")
            );
            let error = Error::input(wrong);
            // Answers can be written; what programs read cannot.
            return Err(match needs_answers && self.load_suite(name, false).is_ok() {
                true => error.hint(format!(
                    "`dyno suite expect {name} COMMIT` writes the files of `expected` from a commit that you trust"
                )),
                false => error,
            });
        }
        let definition = Definition::read(&folder)?;
        Ok(LoadedSuite { suite, folder, digest: definition.digest(), definition })
    }

    /// Path as a person in the catalog's folder would write it.
    fn display_path(&self, file: &Path) -> String {
        file.strip_prefix(&self.root).unwrap_or(file).display().to_string()
    }

    /// The names that there are of a kind, sorted; [`Self::find`] has the meaning of `inner`.
    fn names(&self, kind: &str, inner: &str) -> Vec<String> {
        let name = |entry: fs::DirEntry| {
            let (path, name) = (entry.path(), entry.file_name().into_string().ok()?);
            match inner {
                "" => name.strip_suffix(".toml").map(String::from),
                inner => path.join(inner).is_file().then_some(name),
            }
        };
        let entries = fs::read_dir(self.root.join(kind)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        names
    }

    /// `<kind>/<name>/<inner>`, or `<kind>/<name>.toml` where `inner` is empty.
    fn find(&self, kind: &str, noun: &str, name: &str, inner: &str) -> Result<PathBuf> {
        let folder = self.root.join(kind);
        let file = if inner.is_empty() {
            folder.join(format!("{name}.toml"))
        } else {
            folder.join(name).join(inner)
        };
        if is_name(name) && file.is_file() {
            return Ok(file);
        }
        let known_names = self.names(kind, inner);
        let hint = suggest_of(name, &format!("{kind}/ has"), &known_names);
        Err(Error::input(format!("there is no {noun} \"{}\"", name.escape_debug())).hint(hint))
    }
}

fn read(file: &Path) -> Result<String> {
    let bytes = fs::read(file).context(|| format!("reading {}", file.display()))?;
    String::from_utf8(bytes).map_err(|error| {
        Error::input(format!(
            "{} is not UTF-8 at byte {}",
            file.display(),
            error.utf8_error().valid_up_to()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: &str = r#"
what = "x"
image = "i"
[source]
git = "x"
[build]
command = ["x"]
outputs = { p = "p" }
[[benchmark]]
name = "b"
what = "x"
command = ["{artifact}/p"]
stdin = "read"
expected = { stdout_file = "answer" }
"#;

    #[test]
    fn an_answer_behind_a_link_is_hidden_and_what_is_read_is_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("suites/s");
        for folder in [root.path().join("images"), folder.join("files")] {
            fs::create_dir_all(folder).unwrap();
        }
        for file in ["suite.toml", "files/one", "files/two"] {
            fs::write(folder.join(file), SUITE).unwrap();
        }
        let link = |name: &str, target: &str| {
            let _ = fs::remove_file(folder.join(name));
            std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
        };
        let catalog = Catalog::open(Some(root.path())).unwrap();
        let seen = |file: &str| catalog.suite("s").unwrap().visible().bytes(file).is_some();
        link("answer", "files/one");
        link("read", "files/two");
        assert_eq!(
            ["answer", "files/one", "read", "files/two"].map(seen),
            [false, false, true, true]
        );
        // What it reads it must see.
        link("read", "files/one");
        assert_eq!(["answer", "files/one", "read"].map(seen), [false, true, true]);
        assert_eq!(catalog.suite("s").unwrap().file("answer").unwrap(), SUITE.as_bytes());

        fs::remove_file(folder.join("answer")).unwrap();
        assert!(catalog.suite("s").is_err() && catalog.suite_without_answers("s").is_ok());
    }
}
