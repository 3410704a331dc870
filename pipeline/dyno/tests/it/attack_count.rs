//! Attacks on the count of instructions, which decides: what is not whole, not Valgrind's or does not
//! fit the time decides nothing, and the report says why.

use crate::world::{BUILD, World, embedded};

/// What the candidate does, and what is said of its count; `None` where it counts.
const CANDIDATES: &[(&str, Option<&str>)] = &[
    ("layout\nwork 60\nprint hello\n", None),
    // What it did before is forgotten, and nobody says so but the probe.
    ("work 60\nbecome print hello\n", Some("it goes on as another program (exec)")),
    // Files of counts of its own making: another name, and one that takes something away.
    (
        "work 60\nattack count forged 1\nprint hello\n",
        Some("it left a false file of counts (.dyno-cachegrind.forged)"),
    ),
    (
        "work 60\nattack count 77 18446744073709551000\nprint hello\n",
        Some("its counts are more than there can be"),
    ),
    ("work 60\nattack trap\n", Some("it left a false file of counts")),
    // It notices that it is counted, and does less; or counts less than it does.
    (
        "work 60\nnatively 120\nprint hello\n",
        Some("they do not fit the time: 1.000 times as many as the baseline's"),
    ),
    ("work 180\nprint hello\n", Some("they do not fit the time: 1.000 times as many")),
];

#[test]
fn a_count_that_cannot_be_believed_decides_nothing() {
    if !embedded() {
        return;
    }
    let world = World::counting();
    world.edit("suites/made/suite.toml", "-size\"]", "-size\", \"instructions:cachegrind\"]");
    world.commit("honest", BUILD, "layout\nwork 60\nprint hello\n");
    for (number, (program, why)) in CANDIDATES.iter().enumerate() {
        let tag = format!("candidate{number}");
        world.commit(&tag, BUILD, program);
        let told = world.dyno(&["run", "made", "honest", &tag, "--rounds", "3", "--json"]);
        assert!(told.code == Some(0) || told.code == Some(1), "{program:?}: {told:?}");
        let sides = "SELECT string_agg(side, ' ' ORDER BY side) FROM samples JOIN runs USING (job) \
                     WHERE metric = 'instructions:cachegrind' AND \
                     runs.finished = (SELECT max(finished) FROM runs)";
        let counted = world.dyno(&["sql", "--output", "csv", sides]).out;
        let counted = counted.lines().nth(1).unwrap_or_default();
        match why {
            None => assert_eq!(counted, "baseline candidate", "{program:?}: {told:?}"),
            Some(why) => {
                assert_eq!(counted, "baseline", "{program:?}: {told:?}");
                let said = "the instructions of greet (candidate) were not counted: ";
                assert!(told.out.contains(said), "{program:?}: {told:?}");
                assert!(told.out.contains(why), "{program:?}: {why}: {told:?}");
            }
        }
    }
}
