//! Keys of hosts, from the command that makes one to the report that says who signed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::{RUN, World, check, embedded};

const COMPARE: [&str; 3] = ["compare", "v1", "v2"];

#[test]
fn a_key_is_made_once_for_its_owner_alone() {
    let world = World::bare();
    let made = world.dyno(&["host", "key"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let key = made.out.trim().strip_prefix("public_key = \"ed25519:").unwrap();
    assert_eq!(key.len(), 65, "{key}");
    assert_eq!(world.dyno(&["host", "key"]).out, made.out);
    let file = world.path().join("data/dyno/host.key");
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!fs::read_to_string(&file).unwrap().contains(&key[..64]));

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let told = world.dyno(&["host", "key"]);
    check(&told, 3, &["data/dyno/host.key can be read by others (mode 640)", "chmod 600"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    world.write("data/dyno/host.key", "garbage");
    check(&world.dyno(&["host", "key"]), 3, &["host.key holds no private key: it is not ed25519-"]);

    let mut inside = world.command(&["host", "key"]);
    inside.env("DYNO_HOST_KEY", world.path().join("store/keys/host.key"));
    check(&world.told(inside), 2, &["the key would lie in the store"]);
    assert!(!world.path().join("store/keys/host.key").exists());
}

#[test]
fn rows_say_who_signed_them_and_a_policy_may_ask_for_it() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let policy = fs::read_to_string(world.path().join("policies/default.toml")).unwrap();
    world.write("policies/strict.toml", &format!("signed_only = true\n{policy}"));
    let strict = [&COMPARE[..], &["--policy", "strict"]].concat();
    let signed_by = || {
        let told =
            world.dyno(&["sql", "SELECT signed_by FROM runs ORDER BY finished", "--output", "csv"]);
        assert_eq!(told.code, Some(0), "{told:?}");
        told.out.lines().skip(1).map(|line| line.trim_matches('"').to_string()).collect::<Vec<_>>()
    };

    // A row without a signature is read as ever, and does not count where signed ones are asked for.
    assert_eq!(world.dyno(&RUN).code, Some(0));
    assert_eq!(signed_by(), [""]);
    let told = world.dyno(&COMPARE);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(!format!("{told:?}").contains("signed"), "{told:?}");
    check(
        &world.dyno(&strict),
        2,
        &[
            "1 of its 1 run rows are not signed by their hosts, and the policy strict counts no others",
        ],
    );

    let key = world.dyno(&["host", "key"]).out;
    let again = [&RUN[..], &["--again"]].concat();
    assert_eq!(world.dyno(&again).code, Some(0));
    // Nobody vouches for the key yet.
    let public = key.trim().trim_start_matches("public_key = ").trim_matches('"').to_string();
    assert_eq!(signed_by(), ["".to_string(), public.clone()]);
    check(&world.dyno(&strict), 2, &["2 of its 2 run rows are not signed"]);

    let host = fs::read_to_string(world.path().join("hosts/local.toml")).unwrap();
    world.write("hosts/local.toml", &format!("{host}{key}"));
    assert_eq!(signed_by(), ["", "local"]);
    let told = world.dyno(&COMPARE);
    assert!(told.out.contains("signed: 1 of 2 runs, by local"), "{told:?}");
    let told = world.dyno(&strict);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("signed: 1 of 1 run, by local"), "{told:?}");

    // Another machine's key: nothing is measured under this name here, and its rows are not believed.
    let other = format!("ed25519:{}", "ab".repeat(32));
    world.write("hosts/local.toml", &format!("{host}public_key = \"{other}\"\n"));
    let wrong = [&other[..], "the key of this machine is ", &public, "former_public_keys"];
    check(&world.dyno(&again), 3, &wrong);
    check(&world.dyno(&["agent", "--once"]), 3, &wrong);
    let told = world.dyno(&COMPARE);
    assert!(told.err.contains("which is no key of the host local; set aside"), "{told:?}");
    assert_eq!(signed_by(), [""]);
    // A key that it had still counts.
    let both = format!("public_key = \"{other}\"\nformer_public_keys = [\"{public}\"]\n");
    world.write("hosts/local.toml", &format!("{host}{both}"));
    assert_eq!(signed_by(), ["", "local"]);
}
