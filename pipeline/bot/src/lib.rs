//! The bot: a comment asks, a comment answers.
//!
//! One pass is [`tick`]. What it decides and says is pure: a comment becomes a [`command`];
//! [`permission`] says whether it may be carried out, and for which commit; [`conversation`] writes
//! the one comment, the check run and the labels that say where things are; [`outbox`] keeps what is
//! to be said in the store until GitHub shows it; [`ask`] keeps what was asked.
//! [`configuration`] is what people write for it, and [`github`] alone talks to GitHub.
//!
//! GitHub is a trait to the outbox ([`outbox::Hub`]), and so is whoever plans and compares
//! ([`conversation::Comparisons`]): engines, Parquet and SQL are not known here.

pub mod ask;
pub mod command;
pub mod configuration;
pub mod conversation;
pub mod github;
pub mod outbox;
pub mod permission;
pub mod tick;
