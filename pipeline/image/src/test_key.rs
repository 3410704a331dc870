//! A made-up archive's OpenPGP key: enough of RFC 9580 to sign an index for `gpgv`. A library for
//! OpenPGP among the tests' dependencies would give others of its crates other features, and so
//! have DataFusion built a second time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

const SIGNATURE: u8 = 2;
const PUBLIC_KEY: u8 = 6;
const USER_ID: u8 = 13;
/// When the key and its signatures were made, in seconds since 1970.
const CREATED: u32 = 1_700_000_000;

/// An Ed25519 key.
pub struct ArchiveKey(Ed25519KeyPair);

impl ArchiveKey {
    pub fn random() -> Self {
        let seed = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(seed.as_ref()).unwrap())
    }

    /// The public key with its owner, in armour.
    pub fn armoured(&self) -> String {
        let owner = b"archive <a@example.org>";
        let mut signed = self.hashed_body();
        signed.push(0xb4);
        signed.extend((owner.len() as u32).to_be_bytes());
        signed.extend(owner);
        // May certify and sign.
        let certification = self.signature(0x13, &signed, &[2, 27, 0x03]);
        let mut packets = packet(PUBLIC_KEY, &self.body());
        packets.extend(packet(USER_ID, owner));
        packets.extend(certification);
        armour("PUBLIC KEY BLOCK", &packets)
    }

    /// `text` with this key's signature below it.
    pub fn sign(&self, text: &str) -> String {
        let text = text.trim_end_matches('\n');
        let signature = self.signature(0x01, text.replace('\n', "\r\n").as_bytes(), &[]);
        let signature = armour("SIGNATURE", &signature);
        format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}\n{signature}")
    }

    fn body(&self) -> Vec<u8> {
        const ED25519: [u8; 10] = [9, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
        let mut body = vec![4];
        body.extend(CREATED.to_be_bytes());
        body.push(22);
        body.extend(ED25519);
        body.extend(integer(&[&[0x40], self.0.public_key().as_ref()].concat()));
        body
    }

    /// The key as fingerprints and certifications hash it.
    fn hashed_body(&self) -> Vec<u8> {
        let body = self.body();
        [&[0x99][..], &(body.len() as u16).to_be_bytes(), &body].concat()
    }

    /// The packet of a signature of `kind` over `signed`, with `more` among its subpackets.
    fn signature(&self, kind: u8, signed: &[u8], more: &[u8]) -> Vec<u8> {
        let fingerprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.hashed_body());
        let mut subpackets = vec![5, 2];
        subpackets.extend(CREATED.to_be_bytes());
        subpackets.extend([22, 33, 4]);
        subpackets.extend(fingerprint.as_ref());
        // GnuPG looks for the key by its short number.
        subpackets.extend([9, 16]);
        subpackets.extend(&fingerprint.as_ref()[12..]);
        subpackets.extend(more);
        let mut body = vec![4, kind, 22, 8];
        body.extend((subpackets.len() as u16).to_be_bytes());
        body.extend(subpackets);
        let trailer = [&[4, 0xff][..], &(body.len() as u32).to_be_bytes()].concat();
        let hash = digest(&SHA256, &[signed, &body, &trailer].concat());
        let signature = self.0.sign(hash.as_ref());
        let (r, s) = signature.as_ref().split_at(32);
        body.extend([0, 0]);
        body.extend(&hash.as_ref()[..2]);
        body.extend(integer(r));
        body.extend(integer(s));
        packet(SIGNATURE, &body)
    }
}

fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[0xc0 | tag, 0xff][..], &(body.len() as u32).to_be_bytes(), body].concat()
}

/// A number with the count of its bits before it.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros..];
    let bits = bytes.first().map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize);
    [&(bits as u16).to_be_bytes()[..], bytes].concat()
}

fn armour(kind: &str, packets: &[u8]) -> String {
    let base64 = STANDARD.encode(packets);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PGP {kind}-----\n\n{}\n-----END PGP {kind}-----\n", lines.join("\n"))
}
