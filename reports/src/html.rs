//! One self-contained HTML file: no remote script, font, style or image, and nothing that needs
//! JavaScript to be read.
//!
//! The templates lay out the [`View`]; this module only adds what drawings need, the places of
//! bars. All text is escaped by one formatter, after [`crate::escape::lines`] has made the hidden
//! visible. As a second wall, the page's Content-Security-Policy lets exactly its own style and
//! script run, by their SHA-256, and lets nothing be loaded.
//!
//! The file is also well-formed XML, so that a test can hold every tag to account.

use base64::Engine as _;
use dyno_model::id::Digest;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{
    AutoEscape, Environment, HtmlEscape, UndefinedBehavior, context, escape_formatter,
};

use crate::escape;
use crate::view::{Html, SECTIONS, View};

mod bar;

use bar::{BarRow, Scale};

/// The frame of the page; each section brings its own template, which this one includes.
const PAGE: &str = include_str!("../templates/report.html");
const STYLE: &str = include_str!("../templates/report.css");
const SCRIPT: &str = include_str!("../templates/report.js");

/// A longer table has its other rows folded by benchmark.
const ROWS_OPEN: usize = 20;
/// More rows than this that do not count are on the page only where they changed: it is to open at
/// once.
const ROWS_MAX: usize = 300;

/// The report as one HTML file.
pub fn html(view: &View) -> String {
    let mut env = environment();
    let scale = Scale::for_view(view);
    env.add_function("bar", move |row: Serde<BarRow>| Serde(scale.bar(&row.0)));
    env.add_template("report", PAGE.trim_end()).expect("the template parses: a test renders it");
    let mut sections = Vec::new();
    for section in SECTIONS.iter().filter_map(|section| section.html.as_ref()) {
        let Html { id, title, template, data } = *section;
        env.add_template(id, template).expect("the template parses: a test renders it");
        sections.push(context! { id, title, data => data(view) });
    }
    let template = env.get_template("report").expect("it was just added");
    template
        .render(context! {
            view => Value::from(Serde(view)),
            sections,
            rows_open => ROWS_OPEN,
            rows_max => ROWS_MAX,
            style => Value::from_safe_string(STYLE.to_string()),
            script => Value::from_safe_string(SCRIPT.to_string()),
            style_hash => csp_source(STYLE),
            script_hash => csp_source(SCRIPT),
        })
        .expect("a view has every field the template names: a test renders it")
}

/// The syntax and the escaping of all templates.
fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
    env.set_syntax(syntax.build().expect("the default delimiters"));
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    env.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() => {
            // A number keeps its per cent sign at the end of a line.
            let text = escape::lines(text).replace(" %", "\u{a0}%");
            escape_formatter(out, state, &Value::from(text))
        }
        _ => escape_formatter(out, state, value),
    });
    env.add_filter("breakable", |text: &str| Value::from_safe_string(breakable(text)));
    env.add_function("href", |place: &str| escape::link(place).map(str::to_string));
    env
}

/// `text` as a source of a Content-Security-Policy.
fn csp_source(text: &str) -> String {
    let digest = Digest::of(text.as_bytes());
    let bytes: Vec<u8> = (0..digest.hex().len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digest.hex()[i..i + 2], 16).expect("a digest is hexadecimal"))
        .collect();
    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// `text`, escaped, with a place to break the line after each comma: configs are long.
fn breakable(text: &str) -> String {
    let escaped = |part: &str| HtmlEscape(&escape::lines(part)).to_string();
    text.split_inclusive(',').map(escaped).collect::<Vec<_>>().join("<wbr/>")
}
