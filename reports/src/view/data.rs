//! Where the data lies.

use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;

use super::View;
use super::section::{Html, Section};

/// The places of the data, and how to make the report again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Links {
    /// Parquet files of the samples: URLs, or paths relative to `store`.
    pub samples: Vec<String>,
    /// URL of the store.
    pub store: String,
    /// The command that makes this report, as text to show; empty where there is none, so that none
    /// that is made of it is shown either.
    pub command: String,
    /// The SQL that gives every series that was compared.
    pub sql: String,
    /// The address at which people find this report, where there is one.
    pub report_url: Option<String>,
}

/// The section of where the data lies, on the page alone.
pub(super) const DATA: Section = Section {
    html: Some(Html {
        id: "data",
        title: "Data",
        template: include_str!("../../templates/data.html"),
        data: samples,
    }),
    markdown: None,
    text: None,
};

/// Sample files, each with the place a link goes to.
fn samples(view: &View) -> Value {
    let place = |sample: &String| {
        let absolute =
            sample.starts_with('/') || sample.contains(':') || view.links.store.is_empty();
        let place = if absolute {
            sample.clone()
        } else {
            format!("{}/{sample}", view.links.store.trim_end_matches('/'))
        };
        (sample.clone(), place)
    };
    let samples: Vec<(String, String)> = view.links.samples.iter().map(place).collect();
    Value::from(Serde(samples))
}
