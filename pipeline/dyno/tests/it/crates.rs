//! Suites of crates, with real compilers in Debian's images: the compiler of an image, of a sysroot,
//! an archive, and one that a recipe builds; leaf and graph; and what does not work.
//!
//! Needs a Debian mirror, for images that are kept in the usual cache, and the registry.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dyno_base::fault::VARIABLE;
use dyno_host::scope::MachineScope;
use dyno_model::id::Digest;

use crate::sample::{full, sample};
use crate::skip;
use crate::world::{embedded, forget_scope, git, left_by, own_scope, set_scope};

/// The effects that only suites of crates have.
pub const OF_CRATES: [&str; 5] =
    ["crates.download", "crates.lay-out", "crates.place", "crates.prepare", "publish.units"];

/// A catalog with the images and policies of this repository and suites of the test's own, and a
/// store.
struct Compilers {
    folder: tempfile::TempDir,
    scope: MachineScope,
}

impl Drop for Compilers {
    fn drop(&mut self) {
        forget_scope(&self.scope);
    }
}

impl Compilers {
    /// `None` where the images cannot be had.
    fn new(images: &[&str]) -> Option<Self> {
        if !embedded() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for kind in ["images", "policies", "suites"] {
            copy(&catalog.join(kind), &folder.path().join(kind));
        }
        fs::create_dir(folder.path().join("hosts")).unwrap();
        // Others may do what they like beside it: what is tested is not the times.
        let host = "benchmark_cores = \"0-1\"\nhousekeeping_cores = \"0\"\nload_max = 1000\ndisturbance_max = 1000\n\
                    engine = \"embedded\"\nmemory = \"4GiB\"\n";
        fs::write(folder.path().join("hosts/two.toml"), host).unwrap();
        let scope = own_scope(folder.path());
        let compilers = Self { folder, scope };
        for image in images {
            if let Err(why) = compilers.build(image) {
                skip("mirror", &why);
                return None;
            }
        }
        Some(compilers)
    }

    /// The pair that the suite is made for, with the name of the newer one. Forky moves: where the
    /// mirror no longer has what its lock names, it is trixie's second compiler; as it is where not
    /// every compiler is tried.
    fn pair() -> Option<(Self, &'static str)> {
        let compilers = Self::new(&["rust-1.85"])?;
        let mut why = String::new();
        for newer in ["rust-1.97", "rust-1.96"].into_iter().skip(usize::from(!full())) {
            match compilers.build(newer) {
                Ok(()) => return Some((compilers, newer)),
                Err(error) => why.push_str(&error),
            }
            eprintln!("without {newer}: {why}");
        }
        skip("mirror", &why);
        None
    }

    /// The error is that the mirror cannot give what the image is made of.
    fn build(&self, image: &str) -> Result<(), String> {
        let built = self.dyno(&["image", "build", image]);
        if built.status.code() == Some(4) {
            return Err(String::from_utf8_lossy(&built.stderr).into_owned());
        }
        assert!(built.status.success(), "{}", text(&built));
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut dyno = Command::new(env!("CARGO_BIN_EXE_dyno"));
        dyno.args(words).arg("--catalog").arg(self.folder.path());
        dyno.arg("--store").arg(self.path("store")).current_dir(self.folder.path());
        set_scope(&mut dyno, &self.scope);
        dyno
    }

    fn dyno(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The same, killed at a fault point.
    fn killed_at(&self, words: &[&str], point: &str) -> u32 {
        let mut dyno = self.command(words);
        dyno.stdout(Stdio::null()).stderr(Stdio::null()).env(VARIABLE, format!("kill:{point}"));
        let mut child = dyno.spawn().unwrap();
        let id = child.id();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{point}: {status:?}");
        id
    }

    /// `dyno run`, which must end with `code`; what it wrote.
    fn run(&self, words: &[&str], code: i32) -> String {
        let report = self.path("report").display().to_string();
        let all =
            [&["run"], words, &["--host", "two", "--no-counting", "--report", &report]].concat();
        let output = self.dyno(&all);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        text(&output)
    }

    /// What is stored is enough to find the compilers of a run again, on both sides.
    fn are_found_again(&self) {
        let job = &self.sql("SELECT job FROM runs")[0];
        let again = self.dyno(&["reproduce", job]);
        assert!(again.status.success(), "{}", text(&again));
    }

    /// The answer of a query, as CSV without its head.
    fn sql(&self, query: &str) -> Vec<String> {
        let output = self.dyno(&["sql", "--output", "csv", query]);
        assert!(output.status.success(), "{query}: {}", text(&output));
        let answer = String::from_utf8(output.stdout).unwrap();
        answer.lines().skip(1).map(String::from).collect()
    }
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}\n{err}")
}

fn copy(from: &Path, into: &Path) {
    fs::create_dir_all(into).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let dest = into.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                copy(&entry.path(), &dest);
            }
        } else {
            fs::copy(entry.path(), dest).unwrap();
        }
    }
}

/// Where dyno keeps what it has made, images among it.
fn usual_cache() -> PathBuf {
    let folder = |name| std::env::var_os(name).map(PathBuf::from);
    folder("DYNO_CACHE").unwrap_or_else(|| {
        folder("XDG_CACHE_HOME")
            .unwrap_or_else(|| folder("HOME").unwrap().join(".cache"))
            .join("dyno")
    })
}

const LOCK: &str = "version = 3\n\n[[package]]\nname = \"NAME\"\nversion = \"0.1.0\"\n";

/// A suite of crates that lie in it: (name, source, what more its `[[crate]]` says).
fn suite(compilers: &Compilers, name: &str, source: &str, crates: &[(&str, &str, &str)]) {
    let axes = "profile = [\"check\", \"debug\", \"opt\", \"doc\", \"clippy\"]\n\
                scenario = [\"full\", \"incr-full\", \"incr-unchanged\", \"incr-patched\"]\n\
                threads = [\"1\", \"2\", \"4\"]\nbackend = [\"llvm\", \"cranelift\"]\n";
    let mut suite = format!("what = \"w\"\nimage = \"rust-1.85\"\n{source}\n[axes]\n{axes}");
    for (name_of, code, more) in crates {
        suite.push_str(&format!(
            "[[crate]]\nname = \"{name_of}\"\npath = \"{name_of}\"\nwhy = \"w\"\n{more}\n"
        ));
        let manifest =
            format!("[package]\nname = \"{name_of}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
        compilers.write(&format!("suites/{name}/{name_of}/Cargo.toml"), &manifest);
        compilers.write(&format!("suites/{name}/{name_of}/src/lib.rs"), code);
        compilers
            .write(&format!("suites/{name}/locks/{name_of}.lock"), &LOCK.replace("NAME", name_of));
    }
    compilers.write(&format!("suites/{name}/suite.toml"), &suite);
}

const FINE: &str = "/// One.\npub fn one() -> u32 {\n    1\n}\n";

const PATCH: &str = "--- a/src/lib.rs\n+++ b/src/lib.rs\n@@ -1,4 +1,4 @@\n /// One.\n pub fn one() -> u32 {\n-    1\n+    2 - 1\n }\n";

/// The shipped suite: two images, a crate and its graph, with a build script and pipelining on and
/// off.
#[test]
fn a_leaf_and_its_graph() {
    let Some((compilers, newer)) = Compilers::pair() else { return };
    let only = [
        "--only",
        "profile=debug",
        "--only",
        "threads=1",
        "--only",
        "scenario=full,incr-patched",
        "--only",
        "jobs=2",
    ];
    let crates = ["--benchmark", "displaydoc", "--benchmark", "displaydoc.graph"];
    let words = [&["rustc", "rust-1.85", newer, "--rounds", "1"][..], &only, &crates].concat();
    let said = compilers.run(&words, 0);
    assert!(said.contains("backend=cranelift: this toolchain has none"), "{said}");
    let version = newer.replace("rust-", "rustc ");
    let versions = compilers.sql(&format!(
        "SELECT strpos(provenance, 'rustc 1.85.1') > 0, strpos(provenance, '{version}.') > 0 FROM runs",
    ));
    assert_eq!(versions, ["true,true"]);
    // Every build saw the same units: libraries, a macro, a build script and its run.
    let units = compilers.sql(
        "SELECT DISTINCT count(*), count(DISTINCT kind), count(*) FILTER (WHERE kind = 'run-build-script'),
                bool_and(metadata_ns IS NOT NULL) FILTER (WHERE kind = 'lib'),
                bool_and(threads > 0) FILTER (WHERE kind <> 'run-build-script')
         FROM units GROUP BY config, side, round, sequence",
    );
    assert_eq!(units, ["9,4,2,true,true"]);
    // With pipelining off nothing begins before the end of what it needs, with it on something does,
    // where there is a second job for it.
    let early = compilers.sql(
        "SELECT b.config LIKE '%jobs=2,pipelining=on%', sum(CASE WHEN b.overlap_ns > 0 THEN 1 ELSE 0 END) > 0
         FROM builds b WHERE b.config LIKE '%jobs=2%' GROUP BY 1 ORDER BY 1",
    );
    assert_eq!(early, ["false,false", "true,true"]);
    // The path explains the time: it is not longer than the build, and cargo's own part is small.
    let wrong = compilers.sql(
        "SELECT config, wall_ns, critical_path_ns FROM builds
         WHERE critical_path_ns > wall_ns OR critical_path_ns < 0.5 * wall_ns",
    );
    assert_eq!(wrong, Vec::<String>::new());
    let gains = compilers.sql("SELECT DISTINCT side FROM pipelining ORDER BY 1");
    assert_eq!(gains, ["baseline", "candidate"]);
    let sizes = compilers.sql(
        "SELECT benchmark, array_to_string(array_agg(DISTINCT metric ORDER BY metric), ' ') FROM samples
         WHERE metric LIKE '%-size' GROUP BY 1 ORDER BY 1",
    );
    let expected = [
        "displaydoc,binary-size incremental-size object-size",
        "displaydoc.graph,binary-size metadata-size object-size rlib-size",
    ];
    assert_eq!(sizes, expected);
    let page = fs::read_to_string(compilers.path("report/report.html")).unwrap();
    assert!(page.contains("<svg"), "a timeline");
    if full() {
        compilers.are_found_again();
    }
}

#[test]
fn what_does_not_work_fails_alone() {
    let Some(compilers) = Compilers::new(&["rust-1.63", "rust-1.85"]) else { return };
    let newer = "pub fn f(x: Option<u32>) -> u32 { let Some(x) = x else { return 0 }; x }\n";
    let release = "[[crate]]\ncrate = \"itoa\"\nversion = \"1.0.11\"\nwhy = \"w\"\nsha256 = \"1111111111111111111111111111111111111111111111111111111111111111\"\n";
    let endless = ("endless", FINE, "limits = { time_s = 3 }");
    let crates = [
        ("fine", FINE, "patch = \"fine.patch\""),
        ("newer", newer, ""),
        ("patchless", FINE, "patch = \"old.patch\""),
        endless,
    ];
    suite(&compilers, "made", "[source]\ncompiler = true", &crates);
    compilers.write("suites/made/fine.patch", PATCH);
    compilers.write("suites/made/old.patch", &PATCH.replace("    1", "    7"));
    compilers.write("suites/made/endless/build.rs", "fn main() { loop {} }\n");
    compilers.write(
        "suites/made/locks/itoa.lock",
        &LOCK.replace("NAME", "itoa").replace("0.1.0", "1.0.11"),
    );
    let file = compilers.path("suites/made/suite.toml");
    let with = fs::read_to_string(&file).unwrap() + release;
    fs::write(&file, with).unwrap();
    let only = ["--only", "profile=check", "--only", "scenario=full,incr-patched", "--rounds", "1"];
    let said = compilers.run(&[&["made", "rust-1.63", "rust-1.85"][..], &only].concat(), 5);
    let failures = &compilers.sql("SELECT failures FROM runs")[0];
    for (what, how) in [
        ("newer", "let...else"),
        ("patchless", "the patch does not apply"),
        ("endless", "took longer than 3 s (limits.time_s)"),
        ("itoa", "has the checksum"),
    ] {
        assert!(failures.contains(what) && failures.contains(how), "{what}: {failures}");
    }
    assert!(!failures.contains("fine"), "{failures}");
    assert!(said.contains("takes -Zthreads and ignores it"), "{said}");
    assert!(said.contains("backend=cranelift") || said.contains("generates no code"), "{said}");
    let fine = "SELECT DISTINCT config FROM samples WHERE benchmark = 'fine' AND metric = 'wall' ORDER BY 1";
    assert_eq!(compilers.sql(fine).len(), 4, "two scenarios, one and two threads");
    // It takes the flag, so its curve would be flat and mean nothing.
    let curves = compilers.sql(
        "SELECT DISTINCT side, strpos(no_fit, 'ignores') > 0 FROM scaling WHERE benchmark = 'fine' ORDER BY 1",
    );
    assert_eq!(curves, ["baseline,true", "candidate,false"]);
    // What is wrong with a crate itself is told once, though both sides meet it.
    let told = |name: &str| {
        // CSV doubles quotation marks.
        failures.matches(&format!("\"\"benchmark\"\":\"\"{name}\"\"")).count()
    };
    assert_eq!((told("itoa"), told("patchless")), (2, 2), "two numbers of threads: {failures}");
    let report = fs::read_to_string(compilers.path("report/comment.md")).unwrap();
    assert!(report.to_lowercase().contains("newly passing"), "{report}");
}

/// Every profile and scenario, a lock made anew, a damaged cache, and other tools beside dyno.
#[test]
fn every_profile_and_scenario() {
    let Some(compilers) = Compilers::new(&["rust-1.85", "rust-1.96"]) else { return };
    let crates = [("fine", FINE, "patch = \"fine.patch\"\ngraph = true")];
    suite(&compilers, "made", "[source]\ncompiler = true", &crates);
    compilers.write("suites/made/fine.patch", PATCH);
    let lock = compilers.path("suites/made/locks/fine.lock");
    fs::remove_file(&lock).unwrap();
    let locked = compilers.dyno(&["suite", "lock", "made"]);
    assert!(locked.status.success(), "{}", text(&locked));
    assert!(fs::read_to_string(&lock).unwrap().contains("name = \"fine\""));
    let only = ["--only", "backend=llvm", "--only", "threads=1", "--rounds", "1"];
    let words = [&["made", "rust-1.85", "rust-1.96"][..], &only].concat();
    compilers.run(&words, 0);
    let measured = compilers.sql(
        "SELECT benchmark, regexp_replace(replace(replace(config, 'backend=llvm', ''), 'threads=1', ''), ',+', ' ', 'g'),
            count(DISTINCT side) FROM samples WHERE metric = 'wall' GROUP BY 1, 2 ORDER BY 1, 2",
    );
    insta::assert_snapshot!(measured.join("\n"));
    // A check writes metadata and generates no code.
    let sizes = compilers.sql(
        "SELECT DISTINCT config LIKE '%profile=check%', metric FROM samples WHERE benchmark = 'fine.graph'
            AND metric IN ('rlib-size', 'metadata-size', 'object-size') ORDER BY 1, 2",
    );
    let expected =
        ["false,metadata-size", "false,object-size", "false,rlib-size", "true,metadata-size"];
    assert_eq!(sizes, expected);
    // Without an axis for them, as many jobs as cores.
    assert_eq!(compilers.sql("SELECT DISTINCT jobs FROM builds"), ["2"]);

    // A cache whose crates may be damaged, with the images of the usual one.
    let cache = compilers.path("cache").display().to_string();
    fs::create_dir(&cache).unwrap();
    symlink(usual_cache().join("images"), compilers.path("cache/images")).unwrap();
    let less = if full() { &[][..] } else { &["--only", "profile=check"] };
    let again = [&words[..], less, &["--again", "--cache", &cache]].concat();
    let run_again = || compilers.run(&again, 0);
    run_again();
    let laid = fs::read_dir(compilers.path("cache/crates")).unwrap().next().unwrap().unwrap();
    let source = laid.path().join("src/src/lib.rs");
    fs::write(&source, "damaged").unwrap();
    let said = run_again();
    assert!(said.contains("fine in the cache is damaged"), "{said}");
    assert_eq!(fs::read_to_string(&source).unwrap(), FINE);

    if !Path::new("/usr/bin/time").exists() {
        return skip("time", "/usr/bin/time is not there");
    }
    let asking =
        ["selfcheck", "made", "rust-1.85", "--parity", "--rounds", "2", "--json", "--host", "two"];
    let only = ["--only", "backend=llvm", "--only", "threads=1", "--only", "profile=debug"];
    let beside = compilers.dyno(&[&asking[..], &only].concat());
    // Processes of some milliseconds: perf's own start is a share of these.
    assert!([0, 1].contains(&beside.status.code().unwrap()), "{}", text(&beside));
    let beside: serde_json::Value = serde_json::from_slice(&beside.stdout).unwrap();
    let rows = beside["rows"].as_array().unwrap();
    let of_memory: Vec<f64> = rows
        .iter()
        .filter(|row| row["metric"] == "max-rss")
        .map(|row| row["ratio"].as_f64().unwrap())
        .collect();
    assert_eq!(of_memory.len(), 5, "{beside}");
    assert!(of_memory.iter().all(|ratio| (ratio - 1.0).abs() < 0.03), "{beside}");
}

#[test]
fn killed_at_every_effect_of_crates() {
    let Some(compilers) = Compilers::new(&["rust-1.85"]) else { return };
    let release = "[[crate]]\ncrate = \"unicode-ident\"\nversion = \"1.0.27\"\nwhy = \"w\"\n\
                   sha256 = \"a2c754d6c33795a1c324727428e5a7dedb5b06195f9890bdbcba760d3e246563\"\n";
    let archive = usual_cache().join(
        "sources/archives/a2c754d6c33795a1c324727428e5a7dedb5b06195f9890bdbcba760d3e246563.crate",
    );
    let words = [
        "run",
        "made",
        "rust-1.85",
        "rust-1.85",
        "--host",
        "two",
        "--no-counting",
        "--rounds",
        "1",
        "--only",
        "profile=check",
        "--only",
        "scenario=full",
        "--only",
        "threads=1",
    ];
    let kills = OF_CRATES.iter().flat_map(|effect| ["before", "after"].map(|when| (effect, when)));
    let kills = sample("kills of crates", kills.collect(), 3);
    for (number, (effect, moment)) in kills.into_iter().enumerate() {
        // Never the same source twice, or it would be laid out already.
        let nobody = tempfile::tempdir().unwrap();
        let code = format!("pub const X: &str = {:?};\n{FINE}", nobody.path());
        let crates = [("fine", code.as_str(), "graph = true")];
        suite(&compilers, "made", "[source]\ncompiler = true", &crates);
        let lock = LOCK.replace("NAME", "unicode-ident").replace("0.1.0", "1.0.27");
        let lock = format!("# {}\n{lock}", nobody.path().display());
        compilers.write("suites/made/locks/unicode-ident.lock", &lock);
        let file = compilers.path("suites/made/suite.toml");
        let with = fs::read_to_string(&file).unwrap() + release;
        fs::write(&file, with).unwrap();
        if *effect == "crates.download" {
            let _ = fs::remove_file(&archive);
        }
        let point = format!("{effect}.{moment}");
        let dead = compilers.killed_at(&words, &point);
        let again = compilers.dyno(&words);
        assert!(again.status.success(), "{point}: {}", text(&again));
        let runs = compilers.sql("SELECT count(*), sum(failed) FROM runs");
        assert_eq!(runs, [format!("{},0", number + 1)], "{point}");
        assert_eq!(left_by(dead), Vec::<String>::new(), "{point}");
    }
    compilers.are_found_again();
}

#[test]
fn compilers_that_are_no_image() {
    let Some(compilers) = Compilers::new(&["rust-1.85"]) else { return };
    let source = "[source]\ncompiler = true\ngit = \"../../target\"\n[build]\n\
                  command = [\"sh\", \"-ec\", \"mkdir -p /build/r/bin; cp rustc /build/r/bin/\"]\nsysroot = \"r\"\n";
    suite(&compilers, "made", source, &[("fine", FINE, "")]);
    // A compiler is whatever takes its command line: here the image's, and a slower one.
    let slow =
        "#!/bin/sh\ncase \"$*\" in *out-dir*) sleep 0.4;; esac\nexec /usr/bin/rustc \"$@\"\n";
    let target = compilers.path("target");
    fs::create_dir_all(&target).unwrap();
    git(&target, &["init", "-q", "-b", "main"]);
    fs::write(target.join("rustc"), slow).unwrap();
    git(&target, &["add", "."]);
    git(&target, &["update-index", "--chmod=+x", "rustc"]);
    git(&target, &["commit", "-qm", "slow"]);
    git(&target, &["tag", "v1"]);
    compilers.write("sysroot/bin/rustc", "#!/bin/sh\nexec /usr/bin/rustc \"$@\"\n");
    let only = ["--only", "profile=check", "--only", "scenario=full", "--only", "threads=1"];
    let only = [&only[..], &["--rounds", "2", "--only", "backend=llvm"]].concat();
    // Of all samples, since what others do meanwhile is no matter here.
    let slower = "SELECT min(value) FILTER (WHERE side = 'candidate') > min(value) FILTER (WHERE side = 'baseline') + 200000000
                  FROM samples WHERE metric = 'wall' AND benchmark = 'fine' GROUP BY job";
    let sysroot = compilers.path("sysroot").display().to_string();
    compilers.run(&[&["made", &sysroot, "v1"][..], &only].concat(), 0);
    assert_eq!(compilers.sql(slower), ["true"]);

    let archive = compilers.path("r.tar");
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all("r", compilers.path("sysroot")).unwrap();
    let bytes = tar.into_inner().unwrap();
    fs::write(&archive, &bytes).unwrap();
    let pinned = format!("{}#sha256={}", archive.display(), Digest::of(&bytes).hex());
    compilers.run(&[&["made", &pinned, "v1"][..], &only].concat(), 0);
    assert_eq!(compilers.sql(slower), ["true", "true"]);

    for (asked, why) in [
        (format!("{}#sha256={}", archive.display(), "0".repeat(64)), "has the checksum"),
        (archive.display().to_string(), "is not pinned"),
        ("/nowhere".into(), "No such file"),
        ("rust-1.58".into(), "no branch"),
    ] {
        let said = compilers.run(&[&["made", &asked, "v1"][..], &only].concat(), 2);
        assert!(said.contains(why) || asked == "rust-1.58", "{asked}: {said}");
    }
    let said =
        compilers.run(&["made", "rust-1.85", "v1", "--only", "speed=1", "--benchmark", "fien"], 2);
    assert!(said.contains("no axis `speed`") && said.contains("`fien`"), "{said}");
}
