//! Where a secret lies, and reading it. No file, message or debugging output has the secret itself:
//! [`SecretString`] shows none, and what is wrong is said without it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use dyno_model::catalog::reader::Table;
use secrecy::SecretString;

/// Bytes of the longest secret.
const BYTES_MAX: u64 = 64 << 10;

/// What a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// The private key of a GitHub App, in PEM.
    PrivateKey,
    /// A token: one word.
    Token,
}

/// Where a secret lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file of this path, which its owner alone may read.
    File(String, SecretKind),
    /// The variable of the environment that is called so.
    Environment(String, SecretKind),
}

impl SecretSource {
    /// Reads the secret; `variable` looks a variable of the environment up.
    ///
    /// # Errors
    /// What is wrong with it, without it.
    pub fn load(
        &self,
        variable: impl FnOnce(&str) -> Option<String>,
    ) -> Result<SecretString, String> {
        let (text, place, kind) = match self {
            Self::File(path, kind) => (read_private(path)?, path, *kind),
            Self::Environment(name, kind) => {
                let text = variable(name).ok_or(format!("the variable {name} is not set"))?;
                (text, name, *kind)
            }
        };
        let secret = text.trim();
        let (is_one, expected) = match kind {
            SecretKind::PrivateKey => (
                secret.starts_with("-----BEGIN ") && secret.contains("PRIVATE KEY-----"),
                "a private key in PEM (-----BEGIN … PRIVATE KEY-----)",
            ),
            SecretKind::Token => (
                !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic()),
                "a token: one word of ASCII",
            ),
        };
        match is_one {
            true => Ok(SecretString::from(secret)),
            false => Err(format!("{place} does not hold {expected}")),
        }
    }
}

/// The text of a file that its owner alone may read.
fn read_private(path: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{path}: {error}");
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(format!("{path} is no file"));
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o777;
        return Err(format!(
            "{path} may be read by others (mode {mode:o}): chmod 600 {path}, and make another if \
             others may have read it"
        ));
    }
    let mut text = String::new();
    let read = file.take(BYTES_MAX).read_to_string(&mut text);
    // The error of bytes that are no text could have the bytes in it.
    read.map_err(|_| format!("{path} is no text"))?;
    Ok(text)
}

/// Reads where a secret lies: one of two keys.
pub(super) fn source(table: &mut Table<'_>, kind: SecretKind) -> Option<SecretSource> {
    let (file_key, variable_key) = match kind {
        SecretKind::PrivateKey => ("key_file", "key_environment"),
        SecretKind::Token => ("file", "environment"),
    };
    if table.has(file_key) == table.has(variable_key) && !table.is_broken() {
        let message = format!("one of `{file_key}` and `{variable_key}` is wanted");
        let expected = "the path of a file, or the name of a variable of the environment";
        table.note(table.span(), message, expected, None);
    }
    let file = table.optional_str(file_key).and_then(|path| {
        let is_absolute = path.value.starts_with('/');
        if !is_absolute {
            let message = format!("`{file_key}` is no absolute path");
            table.note(path.span, message, "a path that begins with `/`", None);
        }
        is_absolute.then_some(SecretSource::File(path.value, kind))
    });
    let variable = table.optional_str(variable_key).and_then(|name| {
        let is_name = !name.value.is_empty()
            && name
                .value
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit());
        if !is_name {
            let message = format!("`{variable_key}` is no name of a variable");
            table.note(name.span, message, "capital letters, digits and `_`", None);
        }
        is_name.then_some(SecretSource::Environment(name.value, kind))
    });
    file.or(variable)
}

/// `text` with `*` in the place of each byte of what looks like a token of GitHub's or a private
/// key: mistakes show lines of the file.
pub(super) fn redacted(text: &str) -> String {
    const TOKENS: [&str; 6] = ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"];
    const KEY: (&str, &str) = ("-----BEGIN", "-----END");
    let mut out = text.to_string();
    let mut hide = |range: std::ops::Range<usize>| {
        let hidden: String = out[range.clone()]
            .chars()
            .flat_map(|c| std::iter::repeat_n(if c == '\n' { '\n' } else { '*' }, c.len_utf8()))
            .collect();
        out.replace_range(range, &hidden);
    };
    for token in TOKENS {
        for (at, _) in text.match_indices(token) {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = text[at..].find(|c| !is_part(c)).map_or(text.len(), |end| at + end);
            hide(at + token.len()..end);
        }
    }
    for (at, _) in text.match_indices(KEY.0) {
        let start = at + KEY.0.len();
        hide(start..text[start..].find(KEY.1).map_or(text.len(), |end| start + end));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_is_read_and_never_shown() {
        let source = SecretSource::Environment("X".into(), SecretKind::Token);
        let secret = source.load(|_| Some(" s3cret\n".into())).unwrap();
        assert_eq!(secret.expose_secret(), "s3cret");
        assert!(!format!("{secret:?} {source:?}").contains("s3cret"));
        for (value, expected) in [
            (None, "the variable X is not set"),
            (Some(""), "X does not hold a token: one word of ASCII"),
            (Some("two s3cret"), "X does not hold a token: one word of ASCII"),
        ] {
            let error = source.load(|_| value.map(str::to_string)).unwrap_err();
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn a_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.pem");
        let shown = path.display().to_string();
        let source = SecretSource::File(shown.clone(), SecretKind::PrivateKey);
        let key = "-----BEGIN RSA PRIVATE KEY-----\ns3cret\n-----END RSA PRIVATE KEY-----\n";
        let load = |bytes: &[u8], mode: u32| {
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            source.load(|_| None)
        };
        assert_eq!(load(key.as_bytes(), 0o600).unwrap().expose_secret(), key.trim());
        for (bytes, mode, expected) in [
            (key.as_bytes(), 0o640, "may be read by others (mode 640)"),
            (b"s3cret", 0o600, "does not hold a private key"),
            (b"\xffs3cret", 0o600, "is no text"),
        ] {
            let error = load(bytes, mode).unwrap_err();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(source.load(|_| None).unwrap_err().contains("is no file"));
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden_in_place() {
        for (text, expected) in [
            ("a = 1", "a = 1"),
            ("t = \"ghp_abc\"\nx", "t = \"ghp_***\"\nx"),
            ("github_pat_1_a ghs_b", "github_pat_*** ghs_*"),
            ("-----BEGIN K\né\n-----END", "-----BEGIN**\n**\n-----END"),
        ] {
            assert_eq!(redacted(text), expected);
            assert_eq!(redacted(text).len(), text.len());
        }
    }
}
