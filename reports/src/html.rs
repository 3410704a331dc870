//! One self-contained HTML file: no remote script, font, style or image, and nothing that needs
//! JavaScript to be read.
//!
//! The template lays out the [`View`]; this module only adds what a drawing needs, the places of
//! the interval bars. All text is escaped by one formatter, after [`crate::escape::lines`] has
//! made the hidden visible. As a second wall, the page's Content-Security-Policy lets exactly its
//! own style and script run, by their SHA-256, and lets nothing be loaded.
//!
//! The file is also well-formed XML, so that a test can hold every tag to account.

use base64::Engine as _;
use dyno_model::id::Digest;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context, escape_formatter};
use serde::{Deserialize, Serialize};

use crate::escape;
use crate::view::View;

const TEMPLATE: &str = include_str!("../templates/report.html");
const STYLE: &str = include_str!("../templates/report.css");
const SCRIPT: &str = include_str!("../templates/report.js");

/// The report as one HTML file.
pub fn html(view: &View) -> String {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
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
    let scale = Scale::over(view);
    env.add_function("bar", move |row: Serde<BarRow>| Serde(scale.bar(&row.0)));
    env.add_function("href", |place: &str| escape::link(place).map(str::to_string));
    env.add_template("report", TEMPLATE).expect("the template parses: a test renders it");
    let template = env.get_template("report").expect("it was just added");
    template
        .render(context! {
            view => Value::from(Serde(view)),
            samples => Value::from(Serde(samples(view))),
            style => Value::from_safe_string(STYLE.to_string()),
            script => Value::from_safe_string(SCRIPT.to_string()),
            style_hash => hash(STYLE),
            script_hash => hash(SCRIPT),
        })
        .expect("a view has every field the template names: a test renders it")
}

/// `text` as a source of a Content-Security-Policy.
fn hash(text: &str) -> String {
    let digest = Digest::of(text.as_bytes());
    let bytes: Vec<u8> = (0..digest.hex().len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digest.hex()[i..i + 2], 16).expect("a digest is hexadecimal"))
        .collect();
    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// Sample files with the place a link goes to.
fn samples(view: &View) -> Vec<(String, String)> {
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
    view.links.samples.iter().map(place).collect()
}

/// The part of a row that its bar is drawn from.
#[derive(Deserialize)]
struct BarRow {
    effect: Option<BarEffect>,
    delta: String,
    delta_fraction: f64,
}

#[derive(Deserialize)]
struct BarEffect {
    text: String,
    interval: String,
    fraction: f64,
    // Not finite numbers arrive as they are: minijinja has them.
    low: f64,
    high: f64,
}

/// Places on a bar 160 wide, in the same units.
#[derive(Serialize)]
struct Bar {
    band: String,
    band_width: String,
    low: String,
    width: String,
    mid: String,
    words: String,
}

const BAR_WIDTH: f64 = 160.0;

/// One scale for all bars of a report: the effect in units of its δ, symmetric, and compressed
/// by asinh so that ±δ stays visible beside an effect a hundred times that.
#[derive(Clone, Copy)]
struct Scale {
    /// asinh of the largest effect drawn, in units of δ.
    reach: f64,
}

/// Stands for δ where a policy has δ = 0.
const DELTA_MIN: f64 = 1e-4;

fn compressed(fraction: f64, delta: f64) -> f64 {
    (fraction / delta.max(DELTA_MIN)).clamp(-1e6, 1e6).asinh()
}

impl Scale {
    fn over(view: &View) -> Self {
        let far = view.rows().filter_map(|row| {
            let effect = row.effect.as_ref()?;
            let ends = [effect.low, effect.high].map(|e| compressed(e, row.delta_fraction).abs());
            Some(ends[0].max(ends[1]))
        });
        Self { reach: far.fold(compressed(2.0, 1.0), f64::max) * 1.05 }
    }

    fn place(self, fraction: f64, delta: f64) -> f64 {
        (compressed(fraction, delta) / self.reach).clamp(-1.0, 1.0).mul_add(0.5, 0.5) * BAR_WIDTH
    }

    fn bar(self, row: &BarRow) -> Option<Bar> {
        let effect = row.effect.as_ref().filter(|e| e.fraction.is_finite())?;
        let delta = row.delta_fraction;
        let [band, band_end, low, high, mid] =
            [-delta, delta, effect.low, effect.high, effect.fraction].map(|f| self.place(f, delta));
        let text = |x: f64| format!("{x:.1}");
        Some(Bar {
            band: text(band),
            band_width: text(band_end - band),
            low: text(low),
            width: text((high - low).max(1.0)),
            mid: text(mid),
            words: format!("{} {}, against {}", effect.text, effect.interval, row.delta),
        })
    }
}
