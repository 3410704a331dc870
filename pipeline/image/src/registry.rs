//! Images of a registry, by digest and never by tag: manifest, configuration and layers are
//! each taken only if their bytes have the digest under which they were asked for.
//!
//! The layers are merged into the same kind of tree as packages are, with dyno's mount points,
//! so everything after this sees one kind of image; its ID is therefore not that of the
//! registry's configuration. Registries that want a login are not served; anonymous tokens are.
//!
//! Specifications: OCI distribution 1.1 (pull), OCI image 1.1 (index, manifest, layers),
//! Docker's token authentication.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use dyno_model::catalog::image::{Reference, oci_architecture};
use dyno_model::id::Digest;
use reqwest::header;
use serde::Deserialize;

use super::unpack::{self, Member};
use super::{Settings, read_json};
use dyno_base::error::{Error, Result, WithContext as _, chain};
use dyno_base::event::{Events, Phase, ProgressUnit};
use dyno_base::http;

/// The largest manifest or index taken, in bytes (the least that a registry must take, 4 MiB).
const MANIFEST_MAX: u64 = 4 << 20;
/// The largest configuration or layer taken, in bytes.
const BLOB_MAX: u64 = 64 << 30;

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Config {
    architecture: String,
    os: String,
    config: Option<Process>,
}

#[derive(Deserialize)]
struct Process {
    #[serde(rename = "Env")]
    env: Option<Vec<String>>,
}

/// An image whose blobs are all in the cache, verified.
pub struct Pulled {
    /// Files of the layers, from the lowest up.
    pub layers: Vec<PathBuf>,
    /// `NAME=value`, as the image has it.
    pub env: Option<Vec<String>>,
}

/// The manifest that `reference` has for a Debian architecture: digest and size in bytes.
pub async fn pin(
    reference: &Reference,
    architecture: &str,
    settings: &Settings,
) -> Result<(Digest, u64)> {
    let client = client(reference).await?;
    let url = blob_address(reference, "manifests", &reference.digest);
    let body = http::get(&client, &url, MANIFEST_MAX).await?;
    if Digest::of(&body) != reference.digest {
        return Err(Error::infrastructure(format!(
            "{url} is not what was asked for: its bytes have the digest {}",
            Digest::of(&body)
        )));
    }
    let Ok(index) = serde_json::from_slice::<Index>(&body) else {
        let size = body.len() as u64;
        fs::create_dir_all(settings.cache.join("blobs"))
            .and_then(|()| fs::write(cached_blob(&settings.cache, &reference.digest), &body))
            .context(|| "keeping the manifest".into())?;
        return Ok((reference.digest.clone(), size));
    };
    let (wanted, variant) = oci_architecture(architecture).unwrap_or((architecture, None));
    let matches_platform = |platform: &Platform| {
        platform.os == "linux"
            && platform.architecture == wanted
            && (variant.is_none() || platform.variant.as_deref() == variant)
    };
    let entry =
        index.manifests.into_iter().find(|m| m.platform.as_ref().is_some_and(matches_platform));
    let entry = entry.ok_or_else(|| {
        Error::input(format!(
            "{}/{} has no image for linux/{wanted}",
            reference.host, reference.repository
        ))
        .hint("take the architecture out of image.toml")
    })?;
    Ok((entry.digest, entry.size))
}

/// Brings the manifest `digest`, its configuration and its layers to the cache.
pub async fn pull(
    reference: &Reference,
    architecture: &str,
    (digest, size_bytes): (&Digest, u64),
    settings: &Settings,
    events: &Events,
) -> Result<Pulled> {
    let client = client(reference).await?;
    let cache = settings.cache.as_path();
    let fetch_blob =
        async |kind: &str, digest: &Digest, size: u64, limit: u64, start_bytes: u64, total: u64| {
            if size > limit {
                return Err(Error::infrastructure(format!(
                    "{kind} {digest} is {size} bytes large"
                )));
            }
            let dest = cached_blob(cache, digest);
            let url = blob_address(reference, kind, digest);
            let progress = |bytes: u64| {
                events.progress(Phase::Image, start_bytes + bytes, total, ProgressUnit::Bytes)
            };
            http::download(&client, &url, digest, size, &dest, &progress).await?;
            Ok(dest)
        };
    let manifest: Manifest =
        read_json(&fetch_blob("manifests", digest, size_bytes, MANIFEST_MAX, 0, 0).await?)?;
    let total = manifest.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    let config = &manifest.config;
    let config: Config =
        read_json(&fetch_blob("blobs", &config.digest, config.size, MANIFEST_MAX, 0, 0).await?)?;
    let (wanted, _) = oci_architecture(architecture).unwrap_or((architecture, None));
    if (config.os.as_str(), config.architecture.as_str()) != ("linux", wanted) {
        return Err(Error::input(format!(
            "the image is for {}/{}, not for linux/{wanted}",
            config.os, config.architecture
        )));
    }
    let mut layers = Vec::new();
    let mut start_bytes = 0;
    for layer in &manifest.layers {
        layers.push(
            fetch_blob("blobs", &layer.digest, layer.size, BLOB_MAX, start_bytes, total).await?,
        );
        start_bytes += layer.size;
    }
    Ok(Pulled { layers, env: config.config.and_then(|process| process.env) })
}

/// Reads the layers, each into its own folder of `spool`; from the lowest up.
pub fn unpack(layers: &[PathBuf], spool: &Path) -> Result<Vec<(String, Vec<Member>)>> {
    layers
        .iter()
        .enumerate()
        .map(|(number, path)| {
            let name = format!("layer {}", number + 1);
            let members = read_layer(path, &spool.join(number.to_string()))
                .context(|| format!("unpacking {name} ({})", path.display()))?;
            Ok((name, members))
        })
        .collect()
}

fn read_layer(path: &Path, spool: &Path) -> std::io::Result<Vec<Member>> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic)?;
    file.rewind()?;
    // By content: media types come from the registry, the bytes are pinned.
    match magic.as_slice() {
        [0x1f, 0x8b, ..] => unpack::tar(flate2::read::MultiGzDecoder::new(file), spool),
        [0x28, 0xb5, 0x2f, 0xfd] => unpack::tar(zstd::Decoder::new(file)?, spool),
        _ => unpack::tar(std::io::BufReader::new(file), spool),
    }
}

fn cached_blob(cache: &Path, digest: &Digest) -> PathBuf {
    cache.join("blobs").join(digest.hex())
}

/// Root of the registry's API: plain HTTP for registries of this very machine, HTTPS for all
/// others.
fn api_root(reference: &Reference) -> String {
    let domain = reference.host.split(':').next().unwrap_or("");
    let loopback = domain == "localhost"
        || domain.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    format!("{}://{}/v2/", if loopback { "http" } else { "https" }, reference.host)
}

fn blob_address(reference: &Reference, kind: &str, digest: &Digest) -> String {
    format!("{}{}/{kind}/{digest}", api_root(reference), reference.repository)
}

/// A client that may read the repository, with an anonymous token where the registry wants one.
async fn client(reference: &Reference) -> Result<reqwest::Client> {
    let mut headers = header::HeaderMap::new();
    headers.insert(header::ACCEPT, header::HeaderValue::from_static(ACCEPT));
    let client = http::client_with(headers.clone())?;
    let url = api_root(reference);
    let request_error = |error: reqwest::Error| {
        Error::infrastructure(format!("asking the registry at {url}: {}", chain(&error)))
    };
    let response = client.get(&url).send().await.map_err(request_error)?;
    if response.status() != reqwest::StatusCode::UNAUTHORIZED {
        return Ok(client);
    }
    let challenge = response.headers().get(header::WWW_AUTHENTICATE);
    let challenge = challenge.and_then(|text| text.to_str().ok()).unwrap_or("");
    let (realm, service) = parse_bearer(challenge).ok_or_else(|| {
        Error::host(format!("the registry at {url} wants a login, which dyno does not do"))
    })?;
    let mut token_url = url::Url::parse(&realm)
        .ok()
        .filter(|realm| realm.scheme() == "https" || url.starts_with("http:"))
        .ok_or_else(|| Error::infrastructure(format!("{url} gives no usable token service")))?;
    token_url
        .query_pairs_mut()
        .append_pair("service", &service)
        .append_pair("scope", &format!("repository:{}:pull", reference.repository));
    let body = http::get(&http::client()?, token_url.as_str(), MANIFEST_MAX).await?;
    let answer: serde_json::Value =
        serde_json::from_slice(&body).context(|| "reading the registry's token".into())?;
    let token = ["token", "access_token"].iter().find_map(|key| answer.get(key)?.as_str());
    let value = format!("Bearer {}", token.unwrap_or_default());
    let mut value =
        header::HeaderValue::from_str(&value).context(|| "reading the registry's token".into())?;
    value.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, value);
    http::client_with(headers)
}

/// `realm` and `service` of a Bearer challenge.
fn parse_bearer(challenge: &str) -> Option<(String, String)> {
    let parameters = challenge.strip_prefix("Bearer ")?;
    let parameter = |name: &str| {
        let quoted = parameters.split(',').find_map(|part| {
            part.trim().strip_prefix(name)?.strip_prefix('=').map(|text| text.trim_matches('"'))
        });
        quoted.map(str::to_string)
    };
    Some((parameter("realm")?, parameter("service").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::super::tests::{World, compressed, error_text, tar_of};
    use super::super::{ImageFacts, lock};
    use super::*;

    #[test]
    fn challenges() {
        for (text, expected) in [
            (
                r#"Bearer realm="https://example.org/token",service="example.org",scope="x""#,
                Some(("https://example.org/token", "example.org")),
            ),
            (r#"Bearer service="s", realm="https://a""#, Some(("https://a", "s"))),
            (r#"Basic realm="x""#, None),
            ("Bearer x", None),
        ] {
            let expected = expected.map(|(r, s)| (r.to_string(), s.to_string()));
            assert_eq!(parse_bearer(text), expected, "{text}");
        }
    }

    /// Debian's `docker-registry` on loopback, ended with the test.
    struct Registry {
        child: Child,
        host: String,
        data: tempfile::TempDir,
    }

    impl Drop for Registry {
        fn drop(&mut self) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }

    impl Registry {
        /// `None` where it is not installed, unless `DYNO_TEST_REQUIRE` says that it must be.
        async fn start() -> Option<Self> {
            let port =
                std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let data = tempfile::tempdir().unwrap();
            let host = format!("127.0.0.1:{port}");
            let config = data.path().join("config.yml");
            let root = data.path().join("data");
            let text = format!(
                "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
                root.display()
            );
            fs::write(&config, text).unwrap();
            let started = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let child = match started {
                Ok(child) => child,
                Err(error) => {
                    let required = std::env::var("DYNO_TEST_REQUIRE").unwrap_or_default();
                    assert!(!required.contains("registry"), "docker-registry: {error}");
                    let line = format!("skipped: needs registry: docker-registry: {error}");
                    eprintln!("{line}");
                    if let Some(file) = std::env::var_os("DYNO_TEST_SKIPPED") {
                        use std::io::Write as _;
                        let name = std::thread::current().name().unwrap_or("a test").to_string();
                        let mut options = fs::OpenOptions::new();
                        let mut file = options.append(true).create(true).open(file).unwrap();
                        writeln!(file, "{name}: {line}").unwrap();
                    }
                    return None;
                }
            };
            let registry = Self { child, host, data };
            for _ in 0..100 {
                if reqwest::get(format!("http://{}/v2/", registry.host)).await.is_ok() {
                    return Some(registry);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("docker-registry does not answer on {}", registry.host);
        }

        async fn push_blob(&self, bytes: &[u8]) -> serde_json::Value {
            let client = reqwest::Client::new();
            let url = format!("http://{}/v2/tiny/blobs/uploads/", self.host);
            let response = client.post(url).send().await.unwrap();
            let mut place: url::Url =
                response.headers()["location"].to_str().unwrap().parse().unwrap();
            let digest = Digest::of(bytes).to_string();
            place.query_pairs_mut().append_pair("digest", &digest);
            let put = client.put(place).header("content-type", "application/octet-stream");
            let response = put.body(bytes.to_vec()).send().await.unwrap();
            assert!(response.status().is_success(), "{}", response.status());
            serde_json::json!({ "digest": digest, "size": bytes.len(), "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip" })
        }

        async fn push_manifest(&self, manifest: &serde_json::Value) -> (Digest, u64) {
            let bytes = serde_json::to_vec(manifest).unwrap();
            let digest = Digest::of(&bytes);
            let url = format!("http://{}/v2/tiny/manifests/{digest}", self.host);
            let kind = manifest["mediaType"].as_str().unwrap().to_string();
            let size = bytes.len() as u64;
            let put = reqwest::Client::new().put(url).header("content-type", kind).body(bytes);
            let response = put.send().await.unwrap();
            assert!(response.status().is_success(), "{}", response.text().await.unwrap());
            (digest, size)
        }

        fn stored(&self, digest: &str) -> PathBuf {
            let hex = digest.trim_start_matches("sha256:");
            self.data
                .path()
                .join("data/docker/registry/v2/blobs/sha256")
                .join(&hex[..2])
                .join(hex)
                .join("data")
        }
    }

    #[tokio::test]
    async fn registry_images_are_pulled_by_digest_and_refused_on_mismatch() {
        let Some(registry) = Registry::start().await else { return };
        let lower = registry
            .push_blob(&compressed(&tar_of("a/, a/old = 1, a/kept = 2, b = 1"), ".gz"))
            .await;
        let upper = registry
            .push_blob(&compressed(&tar_of("a/, a/.wh.old = -, b = 22, c -> b"), ".gz"))
            .await;
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": { "Env": ["PATH=/own"] },
            "rootfs": { "type": "layers", "diff_ids": [] }
        });
        let mut config = registry.push_blob(&serde_json::to_vec(&config).unwrap()).await;
        config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = serde_json::json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [lower, upper] });
        let (manifest, size) = registry.push_manifest(&manifest).await;
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{ "mediaType": kind, "digest": manifest, "size": size, "platform": { "architecture": "amd64", "os": "linux" } }]
        });
        let (index, _) = registry.push_manifest(&index).await;

        let world = World::new();
        let dir = world.dir();
        let toml = |digest: &Digest, architecture: &str| {
            let text = format!(
                "architectures = [\"{architecture}\"]\nregistry = \"{}/tiny@{digest}\"\n",
                registry.host
            );
            fs::write(dir.join("image.toml"), text).unwrap();
        };
        let settings = |cache: &str| Settings { mirror: None, ..world.settings(cache) };
        let mut ids = Vec::new();
        for digest in [&index, &manifest] {
            toml(digest, "amd64");
            let locked = lock(&dir, &settings("1"), &Events::none()).await.unwrap();
            let built = world.build(&settings("2")).await.unwrap();
            assert_eq!(locked.architectures["amd64"].id, built.id);
            let facts: ImageFacts = read_json(&built.folder.join("image.json")).unwrap();
            assert!(facts.config.contains("PATH=/own"), "{}", facts.config);
            let read = |path: &str| fs::read_to_string(built.rootfs.join(path)).ok();
            assert_eq!(read("a/kept").as_deref(), Some("2"));
            assert_eq!(read("c").as_deref(), Some("22"));
            assert_eq!((read("a/old"), read("a/.wh.old")), (None, None));
            assert!(built.rootfs.join("dyno/probe").exists());
            ids.push(built.id);
        }
        assert_eq!(ids[0], ids[1]);

        toml(&index, "arm64");
        let error = error_text(lock(&dir, &settings("3"), &Events::none()).await.unwrap_err());
        assert!(error.contains("has no image for linux/arm64"), "{error}");

        toml(&index, "amd64");
        lock(&dir, &settings("1"), &Events::none()).await.unwrap();
        let stored = registry.stored(lower["digest"].as_str().unwrap());
        let mut bytes = fs::read(&stored).unwrap();
        bytes[20] ^= 1;
        fs::write(&stored, bytes).unwrap();
        let error = error_text(world.build(&settings("4")).await.unwrap_err());
        assert!(error.contains("SHA-256 differs"), "{error}");
    }
}
