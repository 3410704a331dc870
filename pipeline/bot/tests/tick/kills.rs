//! A bot that dies at each of its effects.

use std::time::Duration;

use crate::world::World;

/// At each moment before and after an effect on the store or on GitHub, from the comment to the
/// verdict, the process dies once; in the end there is one comment, the right one.
#[tokio::test]
async fn one_comment_whatever_dies() {
    let mut kills = 0;
    for (stage, least) in [("queued", 30), ("running", 20), ("verdict", 20)] {
        for moment in 0.. {
            let world = World::with_token();
            let pull = world.pull();
            world.tick().await;
            world.twin.comment_as("alice", &pull, &format!("@dyno run {}", world.twin.head(&pull)));
            if stage != "queued" {
                world.tick().await;
            }
            match stage {
                "running" => world.take().await,
                "verdict" => world.measure(None).await,
                _ => {}
            }
            world.clock.advance(Duration::from_secs(60));
            world.fuse(Some(moment));
            let was_killed = world.pass().await.is_none();
            kills += u32::from(was_killed);
            world.fuse(None);
            // A creation that got no answer is looked for during a minute.
            for _ in 0..3 {
                world.tick().await;
            }
            world.measure(None).await;
            for _ in 0..2 {
                world.tick().await;
            }
            let text = world.shown(&pull);
            let about = format!("{stage}, killed at moment {moment}: {text}");
            assert_eq!(world.own_comments(&pull), 1, "{about}");
            assert!(text.contains("### Regressed: 1 of 2 series."), "{about}");
            assert_eq!(text.matches("👀 dyno").count(), 1, "{about}");
            assert_eq!(text.matches("\nstatus dyno: wasmi ").count(), 1, "{about}");
            assert_eq!(world.objects.names("queue/requests/").len(), 1, "{about}");
            assert_eq!(world.objects.names("bot/due/"), [] as [String; 0], "{about}");
            if !was_killed {
                assert!(moment >= least, "{stage}: {moment} moments");
                break;
            }
        }
    }
    assert!(kills >= 100, "{kills} kills");
}
