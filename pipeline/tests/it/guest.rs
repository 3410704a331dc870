//! The program that the conformance test runs inside containers: it tries things and says what
//! it could do. Compiled by the test itself, statically, so that it needs no image.

use std::io::Write;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["print", text] => print!("{text}"),
        ["environment"] => std::env::vars().for_each(|(k, v)| println!("{k}={v}")),
        ["write", path] => match std::fs::write(path, "x") {
            Ok(()) => println!("written"),
            Err(error) => println!("{:?}", error.raw_os_error()),
        },
        ["read", path] => match std::fs::read(path) {
            Ok(bytes) => println!("{} bytes", bytes.len()),
            Err(error) => println!("{:?}", error.raw_os_error()),
        },
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
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        ["sleep", seconds] => {
            std::thread::sleep(std::time::Duration::from_secs(seconds.parse().unwrap()))
        }
        other => panic!("{other:?}"),
    }
}
