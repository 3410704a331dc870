//! The bot: a comment asks, a comment answers.
//!
//! Here is what it decides and what it says, without a network: a comment becomes a [`command`];
//! [`permission`] says whether it may be carried out, and for which commit; [`conversation`] writes
//! the one comment, the check run and the labels that say where things are; [`outbox`] keeps what is
//! to be said in the store until GitHub shows it. [`configuration`] is what people write for it.
//!
//! GitHub is a trait ([`outbox::Hub`]), and so is whoever compares
//! ([`conversation::Comparisons`]): engines, Parquet and SQL are not known here.

pub mod command;
pub mod configuration;
pub mod conversation;
pub mod outbox;
pub mod permission;
