//! A comment asks, and a comment answers: from GitHub over the queue of a folder to a real container
//! and back.

use std::time::{SystemTime, UNIX_EPOCH};

use dyno_github_twin::{Pull, Twin};

use crate::world::{Told, World, check, embedded, git};

/// A GitHub that has the commits of the world's target: `v1` on its branch, `v2` in a pull request.
fn github(world: &World) -> (Twin, Pull, String, String) {
    let twin = Twin::start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    twin.set_clock(now as i64);
    let token = twin.bot("dyno", 9000);
    twin.account("alice", 1001);
    let target = world.path().join("target");
    let [base, head] = ["v1", "v2"].map(|tag| git(&target, &["rev-parse", tag]));
    let repository = twin.repository("acme/made").permission("alice", "write");
    let repository = repository.permission("dyno", "write");
    repository.git_commit("alice", "main", &base, "v1");
    repository.git_commit("alice", "topic", &head, "v2");
    let pull = repository.pull_of("alice", "topic", "Faster greeting");
    let text = format!(
        "name = \"dyno\"\naccount = 9000\napi = \"{}\"\nstore = \"store\"\n\
         token.environment = \"DYNO_BOT_TOKEN\"\n\
         [[repository]]\nname = \"acme/made\"\nsuites = [\"made\"]\nhosts = [\"local\"]\n\
         accounts = {{ alice = 1001 }}\n",
        twin.url()
    );
    world.write("bot.toml", &text);
    (twin, pull, token, head)
}

fn poll(world: &World, token: &str) -> Told {
    let mut command = world.command(&["bot", "poll"]);
    command.env("DYNO_BOT_TOKEN", token);
    world.told(command)
}

#[test]
fn a_comment_becomes_a_verdict() {
    if !embedded() {
        return;
    }
    let world = World::new();
    let (twin, pull, token, head) = github(&world);
    twin.comment_as("alice", &pull, &format!("@dyno run {head}"));
    let told = poll(&world, &token);
    assert_eq!((told.code, told.out.as_str()), (Some(0), "1 command taken, 3 things said\n"));
    let text = twin.conversation(&pull);
    for part in ["👀 dyno", "### Queued: `made`", "status dyno: made by dyno: pending"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let agent = world.dyno(&["agent", "--once", "--poll", "1", "--lease", "4"]);
    assert!(agent.err.contains(": done"), "{agent:?}");
    let told = poll(&world, &token);
    assert_eq!((told.code, told.out.as_str()), (Some(0), "0 commands taken, 2 things said\n"));
    let text = twin.conversation(&pull);
    assert!(text.contains("status dyno: made by dyno: success: Unchanged"), "{text}");
    assert!(text.contains("    <!-- dyno: made -->\n\n    ### Unchanged"), "{text}");
    assert_eq!(text.lines().filter(|line| *line == "dyno:").count(), 1, "{text}");
    // The token is in no file, and nothing more is said.
    let mut search = std::process::Command::new("grep");
    let found = search.args(["-rl", &token]).arg(world.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let told = poll(&world, &token);
    assert_eq!(told.out, "0 commands taken, 0 things said\n", "{told:?}");
    twin.finish();
}

#[test]
fn what_is_wrong_with_its_files_is_said_at_once() {
    let world = World::bare();
    check(&world.dyno(&["bot", "poll"]), 2, &["reading bot.toml", "docs/bot.md"]);
    let text = "name = \"dyno\"\naccount = 1\napi = \"http://git.example\"\nstore = \"store\"\n\
                token.environment = \"DYNO_BOT_TOKEN\"\n";
    world.write("bot.toml", text);
    let parts = ["`api` is \"http://git.example\"", "no repository is named"];
    check(&world.dyno(&["bot", "poll"]), 2, &parts);
    let more = "[[repository]]\nname = \"a/b\"\nsuites = [\"mad\"]\nhosts = [\"x\"]\n\
                policy = \"strict\"\naccounts = { alice = 1 }\n";
    let whole = text.replace("http://git.example", "http://127.0.0.1:9") + more;
    world.write("bot.toml", &whole);
    let parts = ["there is no suite \"mad\"", "there is no policy \"strict\""];
    check(&world.dyno(&["bot", "poll"]), 2, &parts);
    world.write(
        "bot.toml",
        &whole.replace("\"mad\"", "\"made\"").replace("\"strict\"", "\"default\""),
    );
    check(&world.dyno(&["bot", "poll"]), 2, &["the variable DYNO_BOT_TOKEN is not set"]);
    // GitHub away is tried again.
    let told = poll(&world, "token");
    check(&told, 4, &["a/b: GitHub: GET /repos/a/b/issues/comments", "the next pass goes on"]);
}
