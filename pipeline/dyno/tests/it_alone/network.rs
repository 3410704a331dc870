//! A bridge, and network namespaces that hang on it with an address each.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use crate::skip;

/// A bridge with the namespaces `0` to `hosts` on it; all goes with this.
pub struct Network {
    number: u32,
    hosts: usize,
}

impl Network {
    /// A network of so many hosts; `None` where this machine cannot make one.
    pub fn new(hosts: usize) -> Option<Self> {
        let network = Self { number: std::process::id() % 100_000, hosts };
        let bridge = network.bridge();
        if let Err(why) = ip(&["link", "add", &bridge, "type", "bridge"]) {
            skip("namespaces", &format!("no bridge can be made: {why}"));
            return None;
        }
        let address = format!("{}/24", network.address());
        run(&["addr", "add", &address, "dev", &bridge]);
        run(&["link", "set", &bridge, "up"]);
        for host in 0..hosts {
            let (name, end) = (network.name(host), network.link(host));
            run(&["netns", "add", &name]);
            run(&["link", "add", &end, "type", "veth", "peer", "name", "eth0", "netns", &name]);
            run(&["link", "set", &end, "master", &bridge, "up"]);
            let address = format!("{}/24", network.host_address(host));
            run(&["-n", &name, "addr", "add", &address, "dev", "eth0"]);
            run(&["-n", &name, "link", "set", "eth0", "up"]);
            run(&["-n", &name, "link", "set", "lo", "up"]);
        }
        Some(network)
    }

    fn bridge(&self) -> String {
        format!("dy{}", self.number)
    }

    fn link(&self, host: usize) -> String {
        format!("dy{}v{host}", self.number)
    }

    fn name(&self, host: usize) -> String {
        format!("dyno{}n{host}", self.number)
    }

    /// The address of the bridge, where servers listen.
    pub fn address(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 213, (self.number % 250) as u8, 1))
    }

    fn host_address(&self, host: usize) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 213, (self.number % 250) as u8, 10 + host as u8))
    }

    /// `command`, in the namespace of a host. (By `ip netns exec` it would have another `/sys`, and
    /// no cgroups.)
    pub fn inside(&self, host: usize, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net=/run/netns/{}", self.name(host)));
        inside.arg(command.get_program()).args(command.get_args()).env_clear();
        inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside.stdin(std::process::Stdio::null());
        inside
    }

    /// Cuts a host off, or lets it back.
    pub fn set_link(&self, host: usize, is_up: bool) {
        run(&["link", "set", &self.link(host), if is_up { "up" } else { "down" }]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The link of a namespace goes with it.
        for host in 0..self.hosts {
            drop(ip(&["link", "del", &self.link(host)]));
            drop(ip(&["netns", "del", &self.name(host)]));
        }
        drop(ip(&["link", "del", &self.bridge()]));
    }
}

fn run(words: &[&str]) {
    ip(words).unwrap_or_else(|why| panic!("ip {words:?}: {why}"));
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_string()),
    }
}
