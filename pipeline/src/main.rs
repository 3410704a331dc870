mod error;
mod event;
mod http;
mod image;
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let settings = image::Settings {
        mirror: None,
        cache: std::env::var("CACHE").unwrap_or("/root/.cache/dyno".into()).into(),
        keys: "images/keys".into(),
    };
    let events = event::Events::new(|e| {
        if !matches!(e, event::Event::Progress { .. }) {
            eprintln!("{e:?}");
        }
    });
    let dir = std::path::Path::new(&args[1]);
    let t = std::time::Instant::now();
    let out: error::Result<()> = async {
        match args[0].as_str() {
            "lock" => {
                let lock = image::lock(dir, &settings, &events).await?;
                for (a, l) in lock.architectures {
                    println!("{a} {}", l.id);
                }
            }
            "build" | "archive" => {
                let b = image::build(dir, &args[2], &settings, &events).await?;
                println!("{} {}", b.id, b.rootfs.display());
                if args[0] == "archive" {
                    println!("{} {}", image::archive(&b).await?.display(), image::label(&b.id));
                }
            }
            _ => println!("{:#?}", image::verify(dir, &settings, &events).await?),
        }
        Ok(())
    }
    .await;
    if let Err(e) = out {
        eprintln!("{:?}: {e}\nhint: {:?}", e.kind, e.hint);
        for m in &e.mistakes {
            eprintln!("{m}");
        }
        eprintln!("exit {}", e.kind.exit_code());
    }
    eprintln!("{:.3} s {} mounts", t.elapsed().as_secs_f64(), image::mount_points().len());
}
