//! Tests of what a machine has once: its measuring lock, and cores that are kept from everybody
//! else. Cargo runs one test program at a time, so that nothing is measured beside these; among
//! themselves they take turns.

mod farm;
mod network;
mod quiet;
#[allow(dead_code)]
#[path = "../../../../queue/tests/s3/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../it/world.rs"]
mod world;

use world::skip;
