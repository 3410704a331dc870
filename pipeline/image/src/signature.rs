//! OpenPGP signatures, checked by GnuPG's `gpgv` as Debian's own tools do: what an expired key, a
//! revocation or a subkey means is decided there. Only `image lock` asks; an OpenPGP library would
//! be a fifth of what dyno needs to compile, but for DataFusion.
//!
//! Format: RFC 9580, sections 6 (armour) and 7 (signed text); GnuPG's `doc/DETAILS` (status lines).

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};

use dyno_base::error::{Error, Result, WithContext as _};

/// The line that a signed text begins with.
const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";

/// Archive keys as `gpgv` reads them.
pub struct Keyring {
    /// Public keys, one packet after the other.
    packets: Vec<u8>,
}

impl Keyring {
    /// Reads the archive keys in `folder`: `.asc` (armoured) and `.gpg`/`.pgp` (binary).
    pub fn read(folder: &Path) -> Result<Self> {
        let reading = || format!("reading the archive keys in {}", folder.display());
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).context(reading)? {
            paths.push(entry.context(reading)?.path());
        }
        paths.sort();
        let mut keyring = Self { packets: Vec::new() };
        for path in paths {
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
            if !["asc", "gpg", "pgp"].contains(&extension) {
                continue;
            }
            let bytes = fs::read(&path).context(reading)?;
            let packets = if is_public_key(&bytes) { Some(bytes) } else { unarmoured(&bytes) };
            let packets = packets.filter(|packets| is_public_key(packets)).ok_or_else(|| {
                Error::input(format!("{} is not an OpenPGP public key", path.display()))
            })?;
            keyring.packets.extend(packets);
        }
        if keyring.packets.is_empty() {
            return Err(Error::input(format!("{} holds no archive key", folder.display())).hint(
                "put the archive's keys there, from Debian's package debian-archive-keyring",
            ));
        }
        Ok(keyring)
    }

    /// The text within `message` that one of the keys has signed; `untrusted` makes the error that
    /// says why there is none. A signature later than a day after `now` does not count: a clock may
    /// be a day off.
    pub fn signed_text(
        &self,
        message: &[u8],
        now: DateTime<Utc>,
        untrusted: impl Fn(String) -> Error,
    ) -> Result<String> {
        let unsigned = || untrusted("it is not signed text".into());
        // Of several signed texts in one file, gpgv would write each and vouch for any.
        let text = std::str::from_utf8(message).map_err(|_| unsigned())?;
        if !text.starts_with(BEGIN) || text.matches(BEGIN).count() != 1 {
            return Err(unsigned());
        }
        let folder = tempfile::tempdir().context(|| "making a folder for gpgv".into())?;
        let file = |name: &str| folder.path().join(name);
        for (name, bytes) in [("keys.gpg", &self.packets[..]), ("message", message)] {
            fs::write(file(name), bytes).context(|| "writing what gpgv reads".into())?;
        }
        let output = Command::new("gpgv")
            .args(["--status-fd", "1", "--weak-digest", "SHA1", "--homedir"])
            .arg(folder.path())
            .arg("--keyring")
            .arg(file("keys.gpg"))
            .arg("--output")
            .arg(file("text"))
            .arg(file("message"))
            .env("LC_ALL", "C")
            .output()
            .map_err(|error| {
                Error::infrastructure(format!("gpgv does not start: {error}"))
                    .hint("it checks the signature of Debian's index; install the package gpgv")
            })?;
        let status = Status::parse(&String::from_utf8_lossy(&output.stdout));
        if status.signers.is_empty() {
            return Err(unsigned());
        }
        if !status.good.iter().any(|created| *created <= now.timestamp() + 86_400) {
            return Err(untrusted(format!(
                "none of the archive keys has signed these bytes (signatures by {})",
                status.signers.join(", ")
            )));
        }
        fs::read_to_string(file("text")).context(|| "reading what gpgv wrote".into())
    }
}

/// What `gpgv` says of a message's signatures.
struct Status {
    /// Key of each signature, whatever it is worth.
    signers: Vec<String>,
    /// When the good ones were made, in seconds since 1970.
    good: Vec<i64>,
}

impl Status {
    fn parse(lines: &str) -> Self {
        let mut status = Self { signers: Vec::new(), good: Vec::new() };
        let mut is_good = false;
        for line in lines.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                // Each signature begins with one of these; VALIDSIG follows for expired and
                // revoked keys, too.
                [
                    kind @ ("GOODSIG" | "BADSIG" | "ERRSIG" | "EXPSIG" | "EXPKEYSIG" | "REVKEYSIG"),
                    key,
                    ..,
                ] => {
                    status.signers.push(key.into());
                    is_good = kind == "GOODSIG";
                }
                ["VALIDSIG", _, _, created, ..] if is_good => {
                    status.good.extend(created.parse::<i64>());
                }
                _ => {}
            }
        }
        status
    }
}

/// Whether `bytes` begin with the packet of a public key.
fn is_public_key(bytes: &[u8]) -> bool {
    const PUBLIC_KEY: u8 = 6;
    bytes.first().is_some_and(|first| match first >> 6 {
        0b11 => first & 0x3f == PUBLIC_KEY,
        0b10 => first >> 2 & 0x0f == PUBLIC_KEY,
        _ => false,
    })
}

/// The packets of all armoured blocks of public keys in `bytes`.
fn unarmoured(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?.replace("\r\n", "\n");
    let mut packets = Vec::new();
    for block in text.split("-----BEGIN PGP PUBLIC KEY BLOCK-----\n").skip(1) {
        let (block, _) = block.split_once("-----END PGP PUBLIC KEY BLOCK-----")?;
        // Headers end with an empty line; what begins with = is the checksum.
        let body = block.split_once("\n\n").map_or(block, |(_, body)| body);
        let base64: String = body.lines().filter(|l| !l.starts_with('=')).map(str::trim).collect();
        packets.extend(STANDARD.decode(base64).ok()?);
    }
    Some(packets)
}
