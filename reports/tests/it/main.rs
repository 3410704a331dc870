//! The outputs as people see them (`snapshots`), the page's structure (`page`), and what no text
//! from outside can do to any of them (`hostile`).

mod hostile;
mod page;
mod scenarios;
mod snapshots;
