//! What a check-out makes of commits: submodules, pointers of Git LFS, times, and trees that nobody
//! would write.

use std::os::unix::fs::MetadataExt;

use super::*;

/// A git in `folder` by nobody in particular; what it says.
async fn run_in(folder: &Path, words: &[&str]) -> String {
    let mut git = git();
    git.arg("-C").arg(folder).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
    git.args(words);
    String::from_utf8(run_git(git).await.unwrap().stdout).unwrap().trim().to_string()
}

/// Holds that a pointer whose object `origin` has becomes its content.
async fn resolved_pointers(folder: &Path, origin: &Path) {
    let content = "what is large\n";
    let id = dyno_model::id::Digest::of(content.as_bytes()).hex().to_string();
    let objects = origin.join(".git/lfs/objects").join(&id[..2]).join(&id[2..4]);
    fs::create_dir_all(&objects).unwrap();
    fs::write(objects.join(&id), content).unwrap();
    let size = content.len();
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize {size}\n");
    fs::write(origin.join("data/large.bin"), pointer).unwrap();
    commit_file(origin, "object").await;
    let (tree, left_out) = check_out_head(folder, Checkout { submodules: false, lfs: true }).await;
    assert_eq!(left_out.unwrap(), None);
    assert_eq!(fs::read_to_string(tree.join("data/large.bin")).unwrap(), content);
}

/// Adds `repository` with a commit of `file`, which is its own name.
async fn repository(folder: &Path, name: &str) -> PathBuf {
    let repository = folder.join(name);
    let mut init = git();
    init.args(["init", "-q", "-b", "main"]).arg(&repository);
    run_git(init).await.unwrap();
    commit_file(&repository, name).await;
    repository
}

async fn check_out_head(folder: &Path, checkout: Checkout) -> (PathBuf, Result<Option<String>>) {
    let resolved = resolve_name(folder, "origin", "HEAD").await.0.unwrap();
    let tree = folder.join("tree");
    drop(fs::remove_dir_all(&tree));
    let recipe = recipe(checkout, 1 << 20, 60);
    let checked_out = resolved.check_out(&tree, &recipe, &Events::none()).await;
    (tree, checked_out)
}

#[tokio::test]
async fn submodules_are_laid_out_where_the_suite_asks() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (origin, dep) = (repository(folder, "origin").await, repository(folder, "dep").await);
    repository(folder, "inner").await;
    run_in(&dep, &["submodule", "add", "-q", "../inner", "deep/inner"]).await;
    commit_file(&dep, "recorded").await;
    run_in(&origin, &["submodule", "add", "-q", &dep.display().to_string(), "libs/dep"]).await;
    commit_file(&origin, "with dep").await;
    // The recorded commit counts, not the newest one.
    commit_file(&dep, "newer").await;

    let asked = Checkout { submodules: true, lfs: false };
    let (tree, left_out) = check_out_head(folder, asked).await;
    assert_eq!(left_out.unwrap(), None);
    let text = |path: &str| fs::read_to_string(tree.join(path)).unwrap();
    assert_eq!(text("libs/dep/file"), "recorded");
    assert_eq!(text("libs/dep/deep/inner/file"), "inner");
    assert!(!tree.join("libs/dep/.git").exists());

    let (tree, left_out) = check_out_head(folder, Checkout::default()).await;
    let left_out = left_out.unwrap().unwrap();
    assert!(left_out.contains("submodules") && left_out.ends_with(": libs/dep"), "{left_out}");
    assert_eq!(fs::read_dir(tree.join("libs/dep")).unwrap().count(), 0);

    // What is recorded and not to be had is the commit's own fault.
    let absent = "1".repeat(40);
    for (what, path, address) in [
        ("has no commit 1111", "libs/dep", dep.display().to_string()),
        ("is not an https://", "libs/dep", "ext::sh -c x".into()),
        ("git: ", "libs/dep", folder.join("gone").display().to_string()),
        ("no address of it", "elsewhere", dep.display().to_string()),
    ] {
        let modules = format!("[submodule \"x\"]\n\tpath = {path}\n\turl = {address}\n");
        fs::write(origin.join(".gitmodules"), modules).unwrap();
        run_in(&origin, &["add", ".gitmodules"]).await;
        let link = format!("160000,{absent},libs/dep");
        run_in(&origin, &["update-index", "--add", "--cacheinfo", &link]).await;
        run_in(&origin, &["commit", "-qm", what]).await;
        let error = check_out_head(folder, asked).await.1.unwrap_err();
        assert_eq!(error.kind, Kind::Case, "{what}: {error}");
        assert!(error.message.contains("the submodule libs/dep: "), "{what}: {error}");
        assert!(error.message.contains(what), "{what}: {error}");
    }
}

#[tokio::test]
async fn pointers_are_named_and_all_files_have_one_time() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let origin = repository(folder, "origin").await;
    fs::create_dir(origin.join("data")).unwrap();
    let absent = "1".repeat(64);
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{absent}\nsize 7\n");
    fs::write(origin.join("data/large.bin"), pointer).unwrap();
    fs::write(origin.join(".gitattributes"), "*.bin filter=lfs\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", origin.join("link")).unwrap();
    commit_file(&origin, "pointer").await;
    let (tree, left_out) = check_out_head(folder, Checkout::default()).await;
    let left_out = left_out.unwrap().unwrap();
    assert!(left_out.contains("Git LFS") && left_out.ends_with(": data/large.bin"), "{left_out}");
    for path in ["file", "data", "data/large.bin", "link", ".gitattributes"] {
        let metadata = fs::symlink_metadata(tree.join(path)).unwrap();
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (315_532_800, 0), "{path}");
    }
    assert_ne!(fs::metadata("/etc/passwd").unwrap().mtime(), 315_532_800);

    // Resolved by the program, if it is there; said if it is not.
    let found = check_out_head(folder, Checkout { submodules: false, lfs: true }).await.1;
    let error = found.unwrap_err();
    match Command::new("git-lfs").arg("version").output().await {
        Ok(_) => {
            assert_eq!(error.kind, Kind::Case, "nobody has that object: {error}");
            resolved_pointers(folder, &origin).await;
        }
        Err(_) => {
            assert_eq!(error.kind, Kind::Host, "{error}");
            assert!(error.hint.unwrap().contains("install git-lfs"));
        }
    }
}

/// A commit of `origin` whose tree has these bytes, whatever git would say of them.
async fn odd_commit(folder: &Path, origin: &Path, tree: &[u8]) -> String {
    let file = folder.join("bytes");
    let write = async |kind: &str, bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let path = file.display().to_string();
        run_in(origin, &["hash-object", "-t", kind, "-w", "--literally", &path]).await
    };
    let tree = write("tree", tree).await;
    let text = format!("tree {tree}\nauthor t <t> 0 +0000\ncommitter t <t> 0 +0000\n\nx\n");
    let commit = write("commit", text.as_bytes()).await;
    run_in(origin, &["update-ref", "refs/heads/odd", &commit]).await;
    commit
}

/// A commit of any tree is laid out below its folder, or is its own failure.
#[tokio::test]
async fn a_commit_of_any_shape_fails_at_most_itself() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let origin = repository(folder, "origin").await;
    let hex = |id: &str| hex::decode(id).unwrap();
    let blob = hex(&id(&origin, "HEAD:file").await);
    let tree = hex(&id(&origin, "HEAD^{tree}").await);
    let entry =
        |mode: &str, name: &[u8], id: &[u8]| [mode.as_bytes(), b" ", name, b"\0", id].concat();
    let many = |entries: &[Vec<u8>]| entries.concat();
    let shapes: Vec<(&str, Vec<u8>, Option<bool>)> = vec![
        ("nothing", Vec::new(), Some(true)),
        ("no UTF-8", entry("100644", b"\xff\xfe", &blob), Some(true)),
        ("a line feed", entry("100644", b"a\nb", &blob), Some(true)),
        ("writable by a group", entry("100664", b"a", &blob), Some(true)),
        ("padded", entry("0100644", b"a", &blob), None),
        ("no mode", entry("0", b"a", &blob), None),
        ("a mode of no kind", entry("777777", b"a", &blob), None),
        ("no number", entry("x", b"a", &blob), Some(false)),
        ("a folder that is a file", entry("40000", b"a", &blob), Some(false)),
        ("a file that is a folder", entry("100644", b"a", &tree), Some(false)),
        ("no object", entry("100644", b"a", &[7; 20]), Some(false)),
        ("no name", entry("100644", b"", &blob), Some(false)),
        ("above", entry("100644", b"..", &blob), Some(false)),
        ("itself", entry("100644", b".", &blob), Some(false)),
        ("a slash", entry("100644", b"../evil", &blob), Some(false)),
        ("absolute", entry("100644", b"/tmp/evil", &blob), Some(false)),
        ("git's own", entry("40000", b".git", &tree), Some(false)),
        ("cut off", entry("100644", b"a", &blob)[..12].to_vec(), Some(false)),
        ("a link to itself", entry("120000", b"file", &blob), Some(true)),
        ("case", many(&[entry("100644", b"A", &blob), entry("100644", b"a", &blob)]), Some(true)),
        ("twice", many(&[entry("100644", b"a", &blob), entry("100644", b"a", &blob)]), None),
        (
            "a link and a folder",
            many(&[entry("120000", b"a", &blob), entry("40000", b"a", &tree)]),
            None,
        ),
        ("not in order", many(&[entry("100644", b"b", &blob), entry("100644", b"a", &blob)]), None),
        ("a submodule of nobody", entry("160000", b"a", &[7; 20]), Some(true)),
    ];
    for (what, bytes, works) in shapes {
        let commit = odd_commit(folder, &origin, &bytes).await;
        let (resolved, _) = resolve_name(folder, "origin", &commit).await;
        let into = folder.join("into/tree");
        drop(fs::remove_dir_all(folder.join("into")));
        let checked_out = match resolved {
            Ok(resolved) => resolved.check_out(&into, &plain(), &Events::none()).await,
            Err(error) => Err(error),
        };
        match &checked_out {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error.kind, Kind::Case | Kind::Input), "{what}: {error}")
            }
        }
        if let Some(works) = works {
            assert_eq!(checked_out.is_ok(), works, "{what}: {checked_out:?}");
        }
        let beside = fs::read_dir(folder.join("into")).into_iter().flatten().count();
        assert!(beside <= 1 && !Path::new("/tmp/evil").exists(), "{what}");
    }
}

/// A path that the system cannot take with the folder before it.
#[tokio::test]
async fn a_path_that_is_too_long_is_the_commits_fault() {
    let folder = tempfile::tempdir().unwrap();
    let origin = repository(folder.path(), "origin").await;
    let mut commit = "HEAD".to_string();
    for _ in 0..20 {
        let tree = id(&origin, &format!("{commit}^{{tree}}")).await;
        let name = "x".repeat(200);
        commit = commit_tree(&origin, &format!("040000 tree {tree}\t{name}\n")).await;
    }
    let resolved = resolve_name(folder.path(), "origin", &commit).await.0.unwrap();
    let into = folder.path().join("y".repeat(200));
    let error = resolved.check_out(&into, &plain(), &Events::none()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Case, "{error}");
    assert!(error.message.contains("deeper than a path"), "{error}");
}
