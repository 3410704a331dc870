use dyno_pipeline::engine;
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == engine::embedded::CHILD) {
        std::process::exit(engine::embedded::child_main(&arguments[1..]).into());
    }
}
