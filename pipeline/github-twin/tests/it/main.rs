//! The twin behaves as GitHub does: tried with octocrab, with plain requests, and with traffic that
//! was recorded from GitHub.

mod apps;
mod client;
mod deliveries;
mod faults;
mod limits;
mod lists;
mod octocrab;
mod operations;
mod recorded;
mod rights;
