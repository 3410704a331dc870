//! The program that tests run inside containers: it tries things and says what it could do. It is
//! compiler, build system and benchmark of the made-up targets too: `script FILE` does each line
//! of a file. Compiled by the test itself, statically, so that it needs nothing of an image.

mod attacker;

use std::io::Write;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    // Called `valgrind`, it counts as much as the probe needs to see.
    if let Some(end) = words.iter().position(|word| *word == "--") {
        for (option, text) in [("--log-file=", ""), ("--cachegrind-out-file=", "summary: 1000\n")] {
            let file = words[..end].iter().find_map(|word| word.strip_prefix(option));
            let file = file.unwrap().replace("%p", &std::process::id().to_string());
            std::fs::write(file, text).unwrap();
        }
        let options: Vec<String> = words.drain(..end + 2).map(String::from).collect();
        COUNTING.set(options).unwrap();
    }
    obey(&words);
}

/// The options of a Valgrind that this is, where it is one.
static COUNTING: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();

fn obey(words: &[&str]) {
    match words {
        // Goes on as another program, as Valgrind lets a program do.
        ["become", words @ ..] => {
            use std::os::unix::process::CommandExt;
            std::thread::sleep(std::time::Duration::from_millis(100));
            let options = COUNTING.get().map_or(&[][..], Vec::as_slice);
            let me = std::env::current_exe().unwrap();
            panic!("{}", std::process::Command::new(&me).args(options).args(words).exec());
        }
        // So much more processor time in user mode, but for a little.
        ["work", ms] => {
            let used = || {
                let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
                stat.split(' ').next().unwrap().parse::<u64>().unwrap()
            };
            let (until, mut x) = (used() + ms.parse::<u64>().unwrap() * 1_000_000, 1_u64);
            while used() < until {
                for _ in 0..1_000_000 {
                    x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005) ^ x >> 7);
                }
            }
        }
        // One thing where nobody counts, another where somebody does.
        ["natively", ms] => {
            if COUNTING.get().is_none() {
                obey(&["work", ms]);
            }
        }
        // What takes long where somebody counts.
        ["counted", words @ ..] => {
            if COUNTING.get().is_some() {
                obey(words);
            }
        }
        // What every process of a benchmark finds in its environment.
        ["layout"] => assert!(std::env::var_os("DYNO_LAYOUT").is_some()),
        ["script", path] => {
            for line in std::fs::read_to_string(path).unwrap().lines().filter(|l| !l.is_empty()) {
                obey(&line.split_whitespace().collect::<Vec<_>>());
            }
        }
        // The same with the word `argument` of each line replaced.
        ["script", path, argument] => {
            for line in std::fs::read_to_string(path).unwrap().lines().filter(|l| !l.is_empty()) {
                let line = line.replace("argument", argument);
                obey(&line.split_whitespace().collect::<Vec<_>>());
            }
        }
        ["attack", words @ ..] => attacker::attack(words),
        // A benchmark of a target that is honest or not: as what was built says.
        ["honest-or", name, file] => match std::fs::read_to_string(file).unwrap().trim() {
            "honest" => print!("hello"),
            _ => obey(&name.split(',').collect::<Vec<_>>()),
        },
        ["copy", from, to] => drop(std::fs::copy(from, to).unwrap()),
        ["link", target, path] => std::os::unix::fs::symlink(target, path).unwrap(),
        ["exit", code] => std::process::exit(code.parse().unwrap()),
        ["complain", text] => eprintln!("{text}"),
        ["fill", path, mib] => {
            let mut file = std::fs::File::create(path).unwrap();
            for _ in 0..mib.parse().unwrap() {
                file.write_all(&[1; 1 << 20]).unwrap();
            }
        }
        // Makes and removes folders without end, a few hundred at a time: whoever removes all of it
        // meanwhile has a race.
        ["churn", folder] => {
            println!("churning");
            for number in 0_u64.. {
                let path = format!("{folder}/{number}");
                drop(std::fs::create_dir(&path));
                drop(std::fs::write(format!("{path}/x"), "x"));
                if let Some(old) = number.checked_sub(300) {
                    drop(std::fs::remove_dir_all(format!("{folder}/{old}")));
                }
            }
        }
        // Appends a line that is another one each time, and harmless in a script.
        ["stamp", path] => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            writeln!(file, "complain {}", now.as_nanos()).unwrap();
        }
        ["show", path] => print!("{}", std::fs::read_to_string(path).unwrap()),
        ["where", link] => println!("{}", std::fs::read_link(link).unwrap().display()),
        // One line of what the kernel says of this process.
        ["status", name] => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_string());
            println!("{}", status.lines().find_map(line).unwrap());
        }
        // Makes a pseudo-terminal and opens its other end.
        ["terminal"] => {
            use std::os::{fd::AsRawFd, unix::fs::OpenOptionsExt};
            const O_NOCTTY: i32 = 0o400;
            unsafe extern "C" {
                fn ioctl(fd: i32, request: u64, ...) -> i32;
            }
            let open = |path: &str| {
                std::fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .custom_flags(O_NOCTTY)
                    .open(path)
                    .unwrap()
            };
            let master = open("/dev/ptmx");
            let (unlock, mut number) = (0_i32, -1_i32);
            // SAFETY: both numbers are live: TIOCSPTLCK and TIOCGPTN.
            unsafe {
                assert_eq!(ioctl(master.as_raw_fd(), 0x4004_5431, &unlock), 0);
                assert_eq!(ioctl(master.as_raw_fd(), 0x8004_5430, &mut number), 0);
            }
            let _other_end = open(&format!("/dev/pts/{number}"));
            println!("a terminal");
        }
        ["print", text] => print!("{text}"),
        // Right in some processes and wrong in others, by what dyno itself varies.
        ["lottery"] => {
            let layout = std::env::var("DYNO_LAYOUT").unwrap().len() / 16;
            print!("{}", if layout % 4 == 3 { "jello" } else { "hello" });
        }
        // Opens its own standard output by name, as `> /dev/stdout` does.
        ["reopen", text] => std::fs::write("/dev/stdout", text).unwrap(),
        // Kills a process with much memory, and does not wait until it is gone.
        ["dying", mib] => {
            let me = std::env::current_exe().unwrap();
            let mut child = std::process::Command::new(&me)
                .args(["hold", mib])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
            child.kill().unwrap();
        }
        ["hold", mib] => {
            let block = vec![1_u8; mib.parse::<usize>().unwrap() << 20];
            println!("{}", block.len());
            obey(&["sleep", "60"]);
        }
        ["environment"] => std::env::vars().for_each(|(k, v)| println!("{k}={v}")),
        ["write", path] => match std::fs::write(path, "x") {
            Ok(()) => println!("written"),
            Err(error) => println!("{:?}", error.raw_os_error()),
        },
        ["read", path] => match std::fs::read(path) {
            Ok(bytes) => println!("{} bytes", bytes.len()),
            Err(error) => println!("{:?}", error.raw_os_error()),
        },
        ["get", address, path] => {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
            std::fs::write(path, answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        }
        ["connect", address] => match std::net::TcpStream::connect(address) {
            Ok(_) => println!("connected"),
            Err(error) => println!("{:?}", error.raw_os_error()),
        },
        ["memory", mib] => {
            let mut blocks: Vec<Vec<u8>> = Vec::new();
            for _ in 0..mib.parse().unwrap() {
                blocks.push(vec![1; 1 << 20]);
            }
            println!("{}", blocks.len());
        }
        ["processes", count] => {
            let me = std::env::current_exe().unwrap();
            let start = |_: &u32| std::process::Command::new(&me).args(["sleep", "60"]).spawn().is_ok();
            println!("{}", (0..count.parse::<u32>().unwrap()).take_while(start).count());
        }
        ["flood"] => {
            let chunk = [b'x'; 1 << 16];
            while std::io::stdout().write_all(&chunk).is_ok() {}
        }
        ["perf"] => {
            unsafe extern "C" {
                fn syscall(number: i64, ...) -> i64;
            }
            // A software event, of this process alone, in user mode alone.
            let mut attr = [0_u64; 16];
            (attr[0], attr[1]) = (128 << 32 | 1, 1);
            attr[5] = 1 << 5 | 1 << 6;
            let number = if cfg!(target_arch = "x86_64") { 298 } else { 241 };
            // SAFETY: the struct is live and says its own size.
            let fd = unsafe { syscall(number, attr.as_mut_ptr(), 0, -1, -1, 0_u64) };
            let error = std::io::Error::last_os_error().raw_os_error();
            println!("{:?}", if fd < 0 { error } else { None });
        }
        // Uses 30 ms of processor time.
        ["burn"] => obey(&["burn", "30"]),
        // So much more processor time than it took to get here.
        ["burn", ms] => {
            let used = || {
                let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
                stat.split(' ').next().unwrap().parse::<u64>().unwrap()
            };
            let until = used() + ms.parse::<u64>().unwrap() * 1_000_000;
            while used() < until {}
        }
        // Starts itself as another process that nobody waits for, and ends when that has ended.
        ["orphan", words @ ..] => {
            let me = std::env::current_exe().unwrap();
            let mut child = std::process::Command::new(&me)
                .args(["abandon"])
                .args(words)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::stdout()).unwrap();
        }
        // The same in a process whose end the kernel takes note of, so that its time is added to
        // nobody's (SIGCHLD is ignored).
        ["ignore", words @ ..] => {
            unsafe extern "C" {
                fn signal(number: i32, handler: usize) -> usize;
            }
            // SAFETY: touches no memory.
            unsafe { signal(17, 1) };
            let me = std::env::current_exe().unwrap();
            let mut child = std::process::Command::new(&me).args(words).spawn().unwrap();
            assert_eq!(child.wait().unwrap_err().raw_os_error(), Some(10), "nobody is there (ECHILD)");
        }
        ["abandon", words @ ..] => {
            let me = std::env::current_exe().unwrap();
            drop(std::process::Command::new(&me).args(words).spawn().unwrap());
        }
        ["addresses"] => {
            let (here, heap) = (0_u8, Box::new(0_u8));
            println!("{:p} {:p} {:p}", &here, heap, main as *const ());
        }
        // Asks the kernel to stop counting (PR_TASK_PERF_EVENTS_DISABLE).
        ["uncount", words @ ..] => {
            unsafe extern "C" {
                fn prctl(option: i32, ...) -> i32;
            }
            // SAFETY: touches no memory.
            unsafe { prctl(31, 0_u64, 0_u64, 0_u64, 0_u64) };
            obey(words);
        }
        // Goes on as a program that may be run but not read: the kernel stops counting it.
        ["unreadable", words @ ..] => {
            use std::os::unix::{fs::PermissionsExt, process::CommandExt};
            let me = std::env::current_exe().unwrap();
            std::fs::copy(me, "/tmp/unreadable").unwrap();
            let mode = std::fs::Permissions::from_mode(0o111);
            std::fs::set_permissions("/tmp/unreadable", mode).unwrap();
            panic!("{}", std::process::Command::new("/tmp/unreadable").args(words).exec());
        }
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        ["pause", ms] => std::thread::sleep(std::time::Duration::from_millis(ms.parse().unwrap())),
        ["sleep", seconds] => {
            std::thread::sleep(std::time::Duration::from_secs(seconds.parse().unwrap()))
        }
        other => panic!("{other:?}"),
    }
}
