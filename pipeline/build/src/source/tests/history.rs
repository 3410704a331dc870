//! The first parents of branches, near and far.

use super::*;
use crate::source::history::{depth, first_parents};

/// Runs git in the repository `origin` below `folder`; its answer.
async fn in_origin(folder: &Path, words: &[&str]) -> String {
    let mut git = git();
    git.arg("-C").arg(folder.join("origin"));
    git.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(words);
    let answer = run_git(git).await.unwrap();
    String::from_utf8_lossy(&answer.stdout).trim().to_string()
}

/// The ids of the newest `most` commits, and the depth of the newest.
async fn chain(
    folder: &Path,
    location: &str,
    branch: &str,
    most: u32,
) -> Result<(Vec<String>, u32)> {
    let cache = folder.join("cache");
    let chain = first_parents(location, folder, branch, most, &cache, &Events::none()).await?;
    Ok((chain.commits.iter().map(|commit| commit.hex().to_string()).collect(), chain.depth))
}

#[tokio::test]
async fn first_parents_are_the_same_from_near_and_far() {
    let (folder, first, second) = two_commits("sha1").await;
    let folder = folder.path();
    in_origin(folder, &["config", "uploadpack.allowFilter", "true"]).await;
    // What was merged is no first parent.
    in_origin(folder, &["checkout", "-q", "-b", "aside", &first]).await;
    in_origin(folder, &["commit", "-q", "--allow-empty", "-m", "aside"]).await;
    in_origin(folder, &["checkout", "-q", "main"]).await;
    in_origin(folder, &["merge", "-q", "--no-ff", "-m", "merged", "aside"]).await;
    let merged = in_origin(folder, &["rev-parse", "HEAD"]).await;
    let (mut daemon, url) = git_daemon(folder).await;
    for location in ["origin", url.as_str()] {
        let all = vec![merged.clone(), second.clone(), first.clone()];
        assert_eq!(chain(folder, location, "main", 9).await.unwrap(), (all.clone(), 2));
        assert_eq!(chain(folder, location, "main", 2).await.unwrap(), (all[..2].to_vec(), 2));
        assert_eq!(chain(folder, location, "aside", 1).await.unwrap().1, 1);
        for (branch, message) in [
            ("nope", "has no branch \"nope\""),
            ("--all", "cannot be the name of a commit"),
            ("HEAD~1", "cannot be the name of a commit"),
        ] {
            let error = chain(folder, location, branch, 2).await.unwrap_err();
            assert_eq!(error.kind, Kind::Input, "{branch}");
            assert!(error.message.contains(message), "{branch}: {error}");
        }
    }
    // Rewritten, the branch is followed; of files nothing came here.
    in_origin(folder, &["reset", "-q", "--hard", &first]).await;
    in_origin(folder, &["commit", "-q", "--allow-empty", "-m", "another"]).await;
    let another = in_origin(folder, &["rev-parse", "HEAD"]).await;
    for location in ["origin", url.as_str()] {
        let (commits, depth) = chain(folder, location, "main", 9).await.unwrap();
        assert_eq!((commits, depth), (vec![another.clone(), first.clone()], 1));
    }
    let repositories = fs::read_dir(folder.join("cache/sources/git")).unwrap().flatten();
    for repository in
        repositories.filter(|entry| entry.path().extension().is_some_and(|e| e == "git"))
    {
        let mut objects = git();
        objects.arg("--git-dir").arg(repository.path());
        objects.args(["cat-file", "--batch-all-objects", "--batch-check=%(objecttype)"]);
        let answer = run_git(objects).await.unwrap();
        let kinds = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(kinds.lines().all(|kind| kind == "commit") && !kinds.is_empty(), "{kinds}");
    }
    daemon.kill().await.unwrap();
    let away = chain(folder, &url, "main", 9).await.unwrap_err();
    assert_eq!(away.kind, Kind::Infrastructure, "{away}");
}

#[tokio::test]
async fn depth_is_known_of_repositories_on_this_machine() {
    let (folder, first, second) = two_commits("sha1").await;
    for (source, commit, expected) in [
        (Source::Git("origin".into()), &first, Some(0)),
        (Source::Git("origin".into()), &second, Some(1)),
        (Source::Git("origin".into()), &"0".repeat(40), None),
        (Source::Git("git://127.0.0.1:1/origin".into()), &second, None),
        (Source::Crate("lua-src".into()), &second, None),
    ] {
        let found = depth(&source, folder.path(), &commit.parse().unwrap()).await;
        assert_eq!(found, expected, "{source:?} {commit}");
    }
}
