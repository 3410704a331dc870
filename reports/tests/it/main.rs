//! The outputs as people see them (`snapshots`, `comment`), what they know (`facts`) and the shape of what
//! programs read (`schema`); the page's structure (`page`), and what no text from outside can do to
//! any output (`hostile`); and why a series has its verdict (`explain`).

mod comment;
mod explain;
mod facts;
mod hostile;
mod page;
mod scenarios;
mod schema;
mod script;
mod snapshots;
