//! Repositories that dyno makes for a person to try it on.

use std::path::Path;

use dyno_base::error::{Result, WithContext};

use super::command::{run_git, without_configuration};

/// A commit of one file.
pub struct OwnCommit<'a> {
    pub tag: &'a str,
    pub file: &'a str,
    pub text: &'a str,
}

/// Makes a repository in the empty `folder`, with one commit after the other on `main`, each with
/// its tag. The same commits have the same ids anywhere.
pub async fn make_repository(folder: &Path, commits: &[OwnCommit<'_>]) -> Result<()> {
    let doing = || format!("making a repository in {}", folder.display());
    let home = tempfile::tempdir().context(doing)?;
    let git = |words: &[&str]| {
        let mut git = without_configuration(home.path());
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "dyno")
                .env(format!("GIT_{who}_EMAIL"), "dyno@localhost");
            git.env(format!("GIT_{who}_DATE"), "@0 +0000");
        }
        git.arg("-C").arg(folder).args(words);
        git
    };
    run_git(git(&["init", "--quiet", "--initial-branch=main"])).await.context(doing)?;
    for OwnCommit { tag, file, text } in commits {
        std::fs::write(folder.join(file), text).context(doing)?;
        for words in [
            &["add", "--", *file][..],
            &["commit", "--quiet", "--no-gpg-sign", "--no-verify", "-m", tag],
            &["tag", "--", *tag],
        ] {
            run_git(git(words)).await.context(doing)?;
        }
    }
    Ok(())
}
