//! `images/<name>/image.toml`: what an environment holds. `image.lock` pins it to the byte.
