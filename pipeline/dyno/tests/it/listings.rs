//! What a newcomer looks around with: the lists of what there is, each for people and as JSON, and
//! the folder of reports.

use serde_json::Value;

use crate::world::{RUN, Told, World, check, embedded};

fn json(told: &Told) -> Value {
    serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {told:?}"))
}

/// Every command that lists says the same as JSON, by the same option.
#[test]
fn every_list_is_json_too() {
    let world = World::new();
    std::fs::create_dir_all(world.path().join("store")).unwrap();
    for words in [
        &["store", "list"][..],
        &["suite", "list"],
        &["image", "list"],
        &["host", "list"],
        &["cache", "list"],
        &["cache"],
        &["queue"],
    ] {
        check(&world.dyno(words), 0, &[]);
        let told = world.dyno(&[words, &["--json"]].concat());
        assert_eq!(told.code, Some(0), "{words:?}: {told:?}");
        let value = json(&told);
        assert!(value.is_array() || value.is_object(), "{words:?}: {told:?}");
    }
}

#[test]
fn images_are_listed_with_what_is_pinned_and_cached_and_who_uses_them() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let line = |told: &Told, image: &str| {
        let mut lines = told.out.lines();
        let line = lines.find(|line| line.split_whitespace().next() == Some(image));
        line.unwrap_or_else(|| panic!("{image}: {told:?}")).to_string()
    };
    check(&world.dyno(&["image", "build", "guest"]), 0, &[]);
    for image in ["bare", "odd"] {
        std::fs::create_dir(world.path().join("images").join(image)).unwrap();
    }
    world.write(
        "images/bare/image.toml",
        "architectures = [\"amd64\", \"arm64\"]\nsuite = \"trixie\"\npackages = [\"hello\"]\n",
    );
    world.write("images/odd/image.toml", "architectures = 5\n");
    let told = world.dyno(&["image", "list"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.starts_with("image  architecture  image ID"), "{told:?}");
    let guest = line(&told, "guest");
    assert!(guest.contains("iB") && guest.ends_with("  made"), "{told:?}");
    let bare = line(&told, "bare");
    assert!(bare.contains("amd64") && bare.contains("not pinned"), "{told:?}");
    assert!(told.out.contains("pin it: dyno image lock bare"), "{told:?}");
    assert!(line(&told, "odd").contains("cannot be read: "), "{told:?}");

    let images = json(&world.dyno(&["image", "list", "--json"]));
    let image = |name: &str| {
        let images = images.as_array().unwrap();
        images.iter().find(|image| image["name"] == name).unwrap().clone()
    };
    let guest = image("guest");
    assert_eq!(guest["suites"], serde_json::json!(["made"]), "{guest}");
    let architecture = &guest["architectures"][0];
    assert!(architecture["id"].as_str().unwrap().len() > 40, "{guest}");
    assert!(architecture["cached_bytes"].as_u64().unwrap() > 1000, "{guest}");
    let bare = image("bare");
    assert!(bare["not_pinned"].as_str().unwrap().contains("is not pinned"), "{bare}");
    assert_eq!(bare["architectures"][1]["name"], "arm64", "{bare}");
    assert!(bare["architectures"][1]["id"].is_null(), "{bare}");
    assert!(image("odd")["mistake"].is_string());
    // What is gone from the cache is not said to be there.
    check(&world.dyno(&["cache", "prune", "--all"]), 0, &[]);
    let images = json(&world.dyno(&["image", "list", "--json"]));
    let images = images.as_array().unwrap();
    let guest = images.iter().find(|image| image["name"] == "guest").unwrap();
    assert!(guest["architectures"][0]["cached_bytes"].is_null(), "{guest}");
}

#[test]
fn hosts_are_listed() {
    let world = World::bare();
    world.write(
        "hosts/two.toml",
        "architecture = \"x86_64\"\nbenchmark_cores = \"1-2\"\nengine = \"docker\"\nlabels = [\"quiet\", \"lab\"]\n",
    );
    world.write("hosts/odd.toml", "engine = 5\n");
    let told = world.dyno(&["host", "list"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let two = told.out.lines().find(|line| line.starts_with("two ")).unwrap();
    let words: Vec<&str> = two.split_whitespace().collect();
    assert_eq!(words, ["two", "x86_64", "docker", "1,2", "quiet,", "lab", "–"], "{told:?}");
    let odd = told.out.lines().find(|line| line.starts_with("odd ")).unwrap();
    assert!(odd.contains("  cannot be read: 1 mistake in hosts/odd.toml"), "{told:?}");
    let hosts = json(&world.dyno(&["host", "list", "--json"]));
    let two = hosts.as_array().unwrap().iter().find(|host| host["name"] == "two").unwrap();
    assert_eq!((&two["engine"], &two["signed"]), (&"docker".into(), &false.into()), "{two}");
}

/// Reports go where DYNO_REPORTS says, and are counted there; --report names one folder.
#[test]
fn reports_have_a_folder_by_environment_or_option() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let dyno = |words: &[&str]| {
        let mut command = world.command(words);
        command.env("DYNO_REPORTS", world.path().join("pages"));
        world.told(command)
    };
    let told = dyno(&RUN);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("Report: [world]/pages/"), "{told:?}");
    let pages = std::fs::read_dir(world.path().join("pages")).unwrap();
    let pages: Vec<_> = pages.flatten().map(|entry| entry.path()).collect();
    assert!(pages.len() == 1 && pages[0].join("report.html").is_file(), "{pages:?}");
    assert!(!world.path().join("data/dyno/reports").exists());
    assert_eq!(json(&dyno(&["cache", "--json"]))["reports"]["count"], 1);
    let told = dyno(&[&RUN[..], &["--report", "here"]].concat());
    assert!(told.out.contains("Report: [world]/here/report.html"), "{told:?}");
    // Empty counts as not set.
    let mut command = world.command(&RUN);
    command.env("DYNO_REPORTS", "");
    assert!(world.told(command).out.contains("Report: [world]/data/dyno/reports/"));
}

/// A commit that is compared with itself is said to be.
#[test]
fn a_commit_and_itself_are_one() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let told = world.dyno(&["run", "made", "v2", "main", "--rounds", "2"]);
    check(&told, 0, &["both sides are the same commit", "dyno selfcheck made "]);
    let told = world.dyno(&RUN);
    assert!(told.code == Some(0) && !told.err.contains("the same commit"), "{told:?}");
}
