//! A GitHub for tests: a server on loopback that holds accounts, repositories, pull requests and
//! what is said in them, and answers GitHub's REST API for the operations that a bot needs.
//!
//! Every request and every reply is validated against GitHub's own schemas (`schemas/`). A route, a
//! parameter or a body that they do not know is a *violation*, and so is a reply of the twin that
//! they would not allow; a test that leaves one behind fails. Tests assert what stands in a pull
//! request in the end ([`Twin::conversation`]), not which calls led there.
//!
//! ```
//! let hub = dyno_github_twin::Twin::start();
//! hub.account("alice", 1001);
//! let repository = hub.repository("acme/widget").permission("alice", "write");
//! let pull = repository.pull("alice", "Faster parser");
//! hub.comment_as("alice", &pull, "@dyno run");
//! assert!(hub.conversation(&pull).contains("alice:\n    @dyno run"));
//! hub.finish();
//! ```

mod access;
mod conversation;
mod delivery;
mod fault;
mod json;
mod limits;
mod operations;
mod reply;
mod repository;
mod schemas;
mod server;
mod state;
mod twin;

pub use delivery::Delivery;
pub use fault::{Fault, Rule};
pub use repository::{Pull, Repository};
pub use server::Request;
pub use twin::{App, Twin};
