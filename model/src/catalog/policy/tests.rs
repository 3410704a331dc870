use super::*;

fn config(text: &str) -> Config {
    Config::read(text)
}

#[test]
fn the_rule_of_a_series() {
    let text = r#"
            [[inform]]
            benchmark = "stress-*"
            [[inform]]
            host = "laptop"
            axis = { profile = ["doc", "clippy"] }
            [metric.wall]
            smallest_effect = 0.01
            decides = "otherwise"
            [[metric.wall.where]]
            axis = { threads = "> 1" }
            decides = true
            [[metric.wall.where]]
            axis = { threads = ">= 8" }
            smallest_effect = 0.02
            [metric."instructions:cachegrind"]
            smallest_effect = 0.002
            decides = true
            [[metric."instructions:cachegrind".where]]
            axis = { threads = "!= 1" }
            decides = false
        "#;
    let policy = parse("p", "p.toml", text, &[]).unwrap();
    let count = "instructions:cachegrind";
    use {Decides::*, Gate::*};
    // (benchmark, config, host, metric) → (δ, decides, tier)
    for (series, expected) in [
        (("fib", "", "h", "wall"), (0.01, Otherwise, Counts)),
        (("fib", "", "h", count), (0.002, Yes, Counts)),
        (("fib", "", "h", "user"), (0.01, No, Counts)),
        (("fib", "threads=1", "h", "wall"), (0.01, Otherwise, Counts)),
        (("fib", "threads=2", "h", "wall"), (0.01, Yes, Counts)),
        (("fib", "threads=16", "h", "wall"), (0.02, Yes, Counts)),
        (("fib", "threads=many", "h", "wall"), (0.01, Otherwise, Counts)),
        (("fib", "threads=2", "h", count), (0.002, No, Counts)),
        (("stress-1", "", "h", count), (0.002, Yes, Informs)),
        (("fib", "profile=doc", "laptop", count), (0.002, Yes, Informs)),
        (("fib", "profile=opt", "laptop", count), (0.002, Yes, Counts)),
        (("fib", "profile=doc", "h", count), (0.002, Yes, Counts)),
    ] {
        let (benchmark, at, host, metric) = series;
        let rule = policy.rule(benchmark, &config(at), host, metric);
        assert_eq!((rule.smallest_effect, rule.decides, rule.tier), expected, "{series:?}");
    }
    assert_eq!((policy.can_decide("wall"), policy.can_decide("user")), (true, false));
    let place = |e: Option<&Exception>| e.map(|e| e.place.to_string());
    let sources = policy.sources("fib", &config("threads=16"), "h", "wall");
    assert_eq!(place(sources.smallest_effect).as_deref(), Some("threads >= 8"));
    assert_eq!(place(sources.decides).as_deref(), Some("threads > 1"));
    let sources = policy.sources("fib", &config("profile=doc"), "laptop", "user");
    let inform = sources.inform.map(ToString::to_string);
    assert_eq!(inform.as_deref(), Some("host laptop, profile = doc or clippy"));
    assert_eq!((sources.metric, sources.decides), (None, None));
}

#[test]
fn all_mistakes_at_once() {
    let text = r#"q = 5
history = -1
conflicting_hosts = "vote"
[[inform]]
[metric.wal]
smallest_effect = -0.01
decides = "maybe"
[[metric.wal.where]]
axis = { thread = "> one" }
[metric.wall]
smallest_effect = nan
"#;
    let mistakes = parse("p", "policies/p.toml", text, &["opt".into()]).unwrap_err();
    insta::assert_snapshot!(mistakes);
}
