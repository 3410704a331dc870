//! Writes the HTML of a named scenario to a file, to be looked at:
//! `cargo run -p dyno-reports --example sample -- mixed /tmp/report.html`.

#[path = "../tests/it/scenarios.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod scenarios;

fn main() {
    let [name, path] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().unwrap_or_else(|_| {
            eprintln!("usage: sample <scenario> <path>");
            std::process::exit(2);
        });
    let all: Vec<_> = scenarios::all().into_iter().chain([scenarios::rustc()]).collect();
    let Some(scenario) = all.iter().find(|scenario| scenario.name == name) else {
        let names: Vec<&str> = all.iter().map(|scenario| scenario.name).collect();
        eprintln!("there is no scenario `{name}`; expected one of {}", names.join(", "));
        std::process::exit(2);
    };
    if let Err(error) = std::fs::write(&path, dyno_reports::html(&scenario.view())) {
        eprintln!("{path}: {error}");
        std::process::exit(1);
    }
}
