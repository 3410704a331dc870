//! Trust classes: what an untrusted commit built is never used for the same commit when it is
//! trusted, never lies in its place, and is never compared or pooled with it.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::world::{BUILD, Told, World, answer, embedded, names};

/// Serves what the lock holds over HTTP on loopback until the process ends; returns the address.
fn serve_changing(body: &Arc<Mutex<&'static str>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let body = Arc::clone(body);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, |_| ("200 OK", body.lock().unwrap().as_bytes().to_vec()));
        }
    });
    address
}

const EVIL: &str = "print jello\n";
const GOOD: &str = "print hello\n";

/// What a build can write, and what it must not find there.
const PLACES: [&str; 4] = ["/src/canary", "/cargo/canary", "/build/canary", "/tmp/canary"];

#[test]
fn what_an_untrusted_build_left_is_not_there_for_a_trusted_one() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let body = Arc::new(Mutex::new(EVIL));
    let address = serve_changing(&body);
    world.edit(
        "suites/made/suite.toml",
        "[build]\n",
        "[build]\nfetch = [\"/guest\", \"script\", \"/src/fetch\"]\n",
    );
    let commit = |tag: &str, fetch: String, build: &str| {
        fs::write(world.path().join("target/fetch"), fetch).unwrap();
        world.commit(tag, build, GOOD);
    };
    commit("base", String::new(), BUILD);
    // The artifact hangs on what a server of the stranger's says at that moment: the same commit,
    // another artifact. And it leaves a canary wherever it can.
    let look = |verb: &str, places: &[&str]| -> String {
        places.iter().map(|place| format!("{verb} {place}\n")).collect()
    };
    let (fetching, building) = ([PLACES[0], PLACES[1], PLACES[3]], [PLACES[2], PLACES[3]]);
    let fetch =
        format!("{}get {address} /src/got\n{}", look("read", &fetching), look("write", &fetching));
    let build = format!(
        "{}copy /guest /build/tool\ncopy /src/got /build/program\nwrite /cargo/canary\n{}",
        look("read", &building),
        look("write", &building)
    );
    commit("v3", fetch, &build);

    let run = |more: &[&str]| {
        world.dyno(&[&["run", "made", "base", "v3", "--rounds", "1", "-v"], more].concat())
    };
    let check = |told: &Told, code: i32, parts: &[&str]| {
        assert_eq!(told.code, Some(code), "{told:?}");
        for part in parts {
            assert!(told.err.contains(part), "no {part:?} in {told:?}");
        }
    };
    let program = |class: &str| -> Vec<(PathBuf, String)> {
        let folder = world.cache().join("artifacts").join(class);
        let file = |name: &String| folder.join(name).join("files/program");
        let all = names(&folder, "").iter().map(file).collect::<Vec<_>>();
        all.into_iter().map(|file| (file.clone(), fs::read_to_string(file).unwrap())).collect()
    };

    // An untrusted build that poisons what it can.
    let untrusted = run(&["--untrusted"]);
    check(&untrusted, 5, &["build: target v3 in", "target v3: written"]);
    assert!(untrusted.out.contains("a wrong answer"), "it is the poisoned one: {untrusted:?}");
    const NETWORK: &str = "the fetch step of the untrusted candidate had the network";
    assert!(untrusted.out.contains(NETWORK), "{untrusted:?}");
    assert_eq!(program("untrusted")[0].1, EVIL);

    // The same commit, trusted: built anew, and no canary is to be found.
    *body.lock().unwrap() = GOOD;
    let trusted = run(&[]);
    check(&trusted, 0, &["fetch: target v3", "build: target v3 in"]);
    assert!(!trusted.out.contains(NETWORK), "{trusted:?}");
    assert!(!trusted.err.contains("target v3 from the cache"), "{trusted:?}");
    assert!(!trusted.err.contains("target v3: 1 bytes"), "a canary was found: {trusted:?}");
    let absent = trusted.err.matches("target v3: Some(2)").count();
    assert_eq!(absent, fetching.len() + building.len(), "{trusted:?}");
    let read_only = trusted.err.matches("target v3: Some(30)").count();
    assert_eq!(read_only, 1, "what was fetched cannot be written: {trusted:?}");
    assert!(program("trusted").iter().all(|(_, text)| text == GOOD));

    // The answer is the trusted one's, whoever measured last.
    let compared = world.dyno(&["compare", "base", "v3", "--json"]);
    assert!(compared.code == Some(0) && !compared.out.contains("a wrong answer"), "{compared:?}");

    // The other way round: an untrusted one may use what a trusted one built …
    *body.lock().unwrap() = EVIL;
    check(&run(&["--untrusted", "--again"]), 0, &["target v3 from the cache"]);
    let compared = world.dyno(&["compare", "base", "v3", "--json"]);
    let view: serde_json::Value = serde_json::from_str(&compared.out).unwrap();
    assert_eq!(view["runs"].as_array().map(Vec::len), Some(1), "not pooled: {compared:?}");
    // … and never writes there, not even where it is damaged.
    let damaged = program("trusted");
    damaged.iter().for_each(|(file, _)| fs::write(file, "print damaged\n").unwrap());
    check(&run(&["--untrusted", "--again"]), 5, &["target v3 from the cache"]);
    let of_v3 = program("trusted").iter().filter(|(_, text)| text == "print damaged\n").count();
    assert_eq!(of_v3, 1, "the baseline's was mended, the candidate's was not");
    *body.lock().unwrap() = GOOD;
    check(&run(&["--again"]), 0, &["is damaged and is built again", "build: target v3 in"]);
    assert!(program("trusted").iter().all(|(_, text)| text == GOOD));

    let query = "SELECT trust, count(*) FROM runs GROUP BY trust ORDER BY trust";
    let told = world.dyno(&["sql", "--output", "csv", query]);
    assert!(told.out.ends_with("trusted,2\nuntrusted,3\n"), "{told:?}");
}
