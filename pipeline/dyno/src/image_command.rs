//! `dyno image`: images are listed, pinned, built and verified.

use std::path::Path;

use clap::Subcommand;
use dyno_base::error::{Error, Kind, Result};
use dyno_base::event::{Event, Events};
use dyno_base::text::columns;
use dyno_build::catalog::Catalog;
use dyno_image::{self as image, CatalogEntry};
use dyno_model::catalog::image::debian_architecture;
use indicatif::HumanBytes;
use serde::Serialize;

use crate::environment::{cache_folder, cache_path};
use crate::options::Global;
use crate::show::{print_as, write_stdout};

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List the images of the catalog: what is pinned, what is in the cache, and who uses it
    List {
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Pin an image to what its suite or registry has now, and write image.lock
    Lock {
        /// An image of the catalog
        name: String,
    },
    /// Build an image from its lock
    Build {
        /// An image of the catalog
        name: String,
        /// A Debian architecture [default: this machine's]
        #[arg(long)]
        arch: Option<String>,
        /// Write the archive for `docker load` too, and print its path
        #[arg(long)]
        archive: bool,
    },
    /// Build every architecture anew and compare with the lock
    Verify {
        /// An image of the catalog
        name: String,
    },
}

/// An image of the catalog in a list.
#[derive(Debug, Serialize)]
struct ListedImage {
    name: String,
    /// `None` where it cannot be read.
    #[serde(flatten)]
    entry: Option<CatalogEntry>,
    /// The suites that are measured in it.
    suites: Vec<String>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    mistake: Option<String>,
}

fn listed(catalog: &Catalog, cache: &Path) -> Vec<ListedImage> {
    let uses: Vec<(String, String)> = catalog
        .suites()
        .into_iter()
        .filter_map(|suite| Some((catalog.definition_of_suite(&suite)?.0.image, suite)))
        .collect();
    let image = |name: String| {
        let entry = catalog.image(&name).and_then(|folder| image::catalog_entry(&folder, cache));
        let users = uses.iter().filter(|(image, _)| *image == name);
        let (entry, mistake) = match entry {
            Ok(entry) => (Some(entry), None),
            Err(error) => {
                (None, Some(error.to_string().lines().next().unwrap_or_default().to_string()))
            }
        };
        ListedImage {
            entry,
            suites: users.map(|(_, suite)| suite.clone()).collect(),
            mistake,
            name,
        }
    };
    catalog.images().into_iter().map(image).collect()
}

/// A line for each architecture of each image.
fn list_text(images: &[ListedImage]) -> String {
    let none = || "–".to_string();
    let header = ["image", "architecture", "image ID", "in the cache", "from", "suites"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for ListedImage { name, entry, suites, mistake } in images {
        let suites = if suites.is_empty() { none() } else { suites.join(", ") };
        let Some(CatalogEntry { origin, architectures, .. }) = entry else {
            let why = format!("cannot be read: {}", mistake.as_deref().unwrap_or_default());
            rows.push(vec![name.clone(), none(), none(), none(), why, suites]);
            continue;
        };
        for architecture in architectures {
            let id = architecture.id.as_ref();
            let id = id.map_or("not pinned".to_string(), |id| id.short().to_string());
            let size = architecture.cached_bytes.map(|bytes| HumanBytes(bytes).to_string());
            rows.push(vec![
                name.clone(),
                architecture.name.clone(),
                id,
                size.unwrap_or_else(none),
                origin.clone(),
                suites.clone(),
            ]);
        }
    }
    let is_unpinned =
        |image: &&ListedImage| image.entry.as_ref().is_some_and(|entry| entry.not_pinned.is_some());
    let mut text = columns(&rows, &[3]);
    for image in images.iter().filter(is_unpinned) {
        text.push_str(&format!("pin it: dyno image lock {}\n", image.name));
    }
    text
}

impl ImageCommand {
    /// Carries it out. Returns the exit code.
    pub async fn run(&self, global: &Global, events: &Events) -> Result<u8> {
        let catalog = Catalog::open(global.catalog.as_deref())?;
        if let Self::List { json } = self {
            let images = listed(&catalog, &cache_path(global)?);
            print_as(*json, &images, &list_text(&images))?;
            return Ok(0);
        }
        let settings = image::Settings {
            mirror: global.mirror.clone(),
            cache: cache_folder(global)?,
            keys: catalog.keys(),
        };
        self.make(&catalog, &settings, events).await
    }

    async fn make(
        &self,
        catalog: &Catalog,
        settings: &image::Settings,
        events: &Events,
    ) -> Result<u8> {
        match self {
            Self::List { .. } => {}
            Self::Lock { name } => {
                let lock = image::lock(&catalog.image(name)?, settings, events).await?;
                events.send(Event::Finished);
                for (architecture, locked) in &lock.architectures {
                    write_stdout(&format!("{architecture} {}\n", locked.id))?;
                }
            }
            Self::Build { name, arch, archive } => {
                let folder = catalog.image(name)?;
                let machine = debian_architecture(std::env::consts::ARCH).unwrap_or("unknown");
                let arch = arch.as_deref().unwrap_or(machine);
                let built = image::build(&folder, arch, settings, events).await?;
                let place = if *archive { image::archive(&built).await? } else { built.rootfs };
                events.send(Event::Finished);
                write_stdout(&format!("{} {}\n", built.id, place.display()))?;
            }
            Self::Verify { name } => {
                let verified = image::verify(&catalog.image(name)?, settings, events).await?;
                events.send(Event::Finished);
                let mut differs = Vec::new();
                for v in &verified {
                    let equal = v.pinned == v.found;
                    let word = if equal { "equal" } else { "DIFFERS" };
                    write_stdout(&format!(
                        "{} pinned {} built {} {word}\n",
                        v.architecture, v.pinned, v.found
                    ))?;
                    if !equal {
                        differs.push(v.architecture.clone());
                    }
                }
                if !differs.is_empty() {
                    return Err(Error::new(
                        Kind::Case,
                        format!("{name} came out otherwise for {}", differs.join(", ")),
                    ));
                }
            }
        }
        Ok(0)
    }
}
