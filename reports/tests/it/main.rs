//! The outputs as people see them (`snapshots`), the page's structure (`page`), and what no text
//! from outside can do to any of them (`hostile`); and why a series has its verdict (`explain`).

mod explain;
mod hostile;
mod page;
mod scenarios;
mod snapshots;
