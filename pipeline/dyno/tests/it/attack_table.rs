//! The attacks on the machine, one a row: what is tried, and what must be seen of it. Calls are those
//! of `syscall(2)`; a word that is no number is passed as a string.

use crate::world::root;

/// What must be seen of an attack.
pub enum Seen<'a> {
    /// It says that it was refused, with one of these error numbers.
    Refused(&'a [i32]),
    /// It was ended by this signal.
    Ended(i32),
    /// It says this, and ends well.
    Says(&'a str),
    /// It says this and ends well, and this many processes ran on.
    Left(&'a str, u32),
}
use Seen::{Ended, Refused, Says};

/// Attacks on the machine: what is out of reach says so.
pub fn attacks_on_the_host(
    host_port: &str,
    abstract_name: &str,
) -> Vec<(Vec<String>, Seen<'static>)> {
    const NO: Seen = Refused(&[libc::EPERM]);
    let calls: &[(i64, &[&str])] = &[
        // Another view of the file system.
        (libc::SYS_mount, &["none", "/tmp", "tmpfs", "0", "0"]),
        (libc::SYS_umount2, &["/proc", "2"]),
        (libc::SYS_pivot_root, &["/tmp", "/tmp"]),
        (libc::SYS_chroot, &["/tmp"]),
        (libc::SYS_open_tree, &["-100", "/", "1"]),
        (libc::SYS_move_mount, &["-100", "/tmp", "-100", "/work", "0"]),
        (libc::SYS_fsopen, &["tmpfs", "0"]),
        (libc::SYS_mount_setattr, &["-100", "/", "0", "0", "0"]),
        (libc::SYS_open_by_handle_at, &["-100", "0", "0"]),
        (libc::SYS_name_to_handle_at, &["-100", "/guest", "0", "0", "0"]),
        (libc::SYS_fanotify_init, &["0", "0"]),
        // Namespaces.
        (libc::SYS_unshare, &["268435456"]),
        (libc::SYS_unshare, &["128"]),
        (libc::SYS_setns, &["0", "0"]),
        (libc::SYS_clone, &["268435473", "0", "0", "0", "0"]),
        // The kernel.
        (libc::SYS_bpf, &["0", "0", "0"]),
        (libc::SYS_userfaultfd, &["0"]),
        (libc::SYS_io_uring_setup, &["8", "0"]),
        (libc::SYS_init_module, &["0", "0", "0"]),
        (libc::SYS_finit_module, &["0", "0", "0"]),
        (libc::SYS_delete_module, &["x", "0"]),
        (libc::SYS_kexec_load, &["0", "0", "0", "0"]),
        (libc::SYS_reboot, &["0", "0", "0", "0"]),
        (libc::SYS_syslog, &["10", "0", "0"]),
        (libc::SYS_swapon, &["/tmp/x", "0"]),
        (libc::SYS_acct, &["/tmp/x"]),
        (libc::SYS_quotactl, &["0", "0", "0", "0"]),
        (libc::SYS_sethostname, &["x", "1"]),
        (libc::SYS_settimeofday, &["0", "0"]),
        (libc::SYS_clock_settime, &["0", "0"]),
        (libc::SYS_clock_adjtime, &["0", "0"]),
        (libc::SYS_adjtimex, &["0"]),
        (libc::SYS_personality, &["262144"]),
        (libc::SYS_move_pages, &["1", "0", "0", "0", "0", "0"]),
        (libc::SYS_process_madvise, &["0", "0", "0", "0", "0"]),
        // Keyrings, which outlive processes.
        (libc::SYS_keyctl, &["0", "-3", "0"]),
        (libc::SYS_add_key, &["user", "x", "x", "1", "-4"]),
        (libc::SYS_request_key, &["user", "x", "0", "0"]),
        // Memory and messages between processes, which do so too.
        (libc::SYS_shmget, &["77", "4096", "950"]),
        (libc::SYS_msgget, &["77", "950"]),
        (libc::SYS_semget, &["77", "1", "950"]),
        (libc::SYS_mq_open, &["x", "66", "438", "0"]),
        // Other processes.
        (libc::SYS_process_vm_readv, &["1", "0", "0", "0", "0", "0"]),
        (libc::SYS_pidfd_getfd, &["0", "0", "0"]),
        (libc::SYS_kcmp, &["1", "1", "0", "0", "0"]),
        // Another user, and capabilities.
        (libc::SYS_setuid, &["0"]),
        (libc::SYS_setgid, &["0"]),
        (libc::SYS_setgid, &["1002"]),
        (libc::SYS_setgroups, &["0", "0"]),
        // Networks: raw, virtual machines' (vsock), the kernel's crypto.
        (libc::SYS_socket, &["2", "3", "1"]),
        (libc::SYS_socket, &["10", "3", "58"]),
        (libc::SYS_socket, &["17", "3", "768"]),
        (libc::SYS_socket, &["40", "1", "0"]),
        (libc::SYS_socket, &["38", "5", "0"]),
        // Devices.
        (libc::SYS_mknodat, &["-100", "/tmp/disk", "24960", "65024"]),
        (libc::SYS_mknodat, &["-100", "/tmp/memory", "8576", "257"]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_iopl, &["3"]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_ioperm, &["0", "1", "1"]),
        // The same calls by the numbers of the x32 ABI.
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mount | 0x4000_0000, &["none", "/tmp", "tmpfs", "0", "0"]),
    ];
    let own = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut table: Vec<(Vec<String>, Seen)> = calls
        .iter()
        .map(|(number, arguments)| {
            let number = number.to_string();
            ([&own(&["attack", "call", &number])[..], &own(arguments)].concat(), NO)
        })
        .collect();
    let call = |number: i64, arguments: &[&str]| {
        [&own(&["attack", "call", &number.to_string()])[..], &own(arguments)].concat()
    };
    // Work of the kernel's own threads, which would pass for a disturbance by others.
    for command in ["1", "2", "4"] {
        table.push((call(libc::SYS_membarrier, &[command, "0", "0"]), NO));
    }
    // What others have in the page cache, taken out or asked for.
    table.push((call(libc::SYS_fadvise64, &["0", "0", "0", "4"]), NO));
    table.push((call(libc::SYS_madvise, &["0", "4096", "21"]), NO));
    for flags in ["8", "9", "128"] {
        let read = call(libc::SYS_preadv2, &["0", "0", "0", "0", "0", flags]);
        table.push((read, Refused(&[libc::EOPNOTSUPP])));
    }
    table.push((call(libc::SYS_mincore, &["0", "0", "0"]), Refused(&[libc::ENOSYS])));
    // The same calls as programs need them.
    for (number, arguments) in [
        (libc::SYS_membarrier, &["0", "0", "0"][..]),
        (libc::SYS_membarrier, &["16", "0", "0"]),
        (libc::SYS_fadvise64, &["0", "0", "0", "3"]),
        (libc::SYS_madvise, &["0", "0", "4"]),
    ] {
        table.push((call(number, arguments), Says("done")));
    }
    table.push((call(libc::SYS_clone3, &["0", "0"]), Refused(&[libc::ENOSYS])));
    let perf = call(libc::SYS_perf_event_open, &["0", "0", "-1", "-1", "0"]);
    table.push((perf, Refused(&[libc::ENOSYS])));
    // What is aimed at the probe ends whoever does it.
    for (number, arguments) in [
        (libc::SYS_kill, &["1", "9"][..]),
        (libc::SYS_kill, &["1", "15"]),
        (libc::SYS_tkill, &["1", "9"]),
        (libc::SYS_tgkill, &["1", "1", "9"]),
        (libc::SYS_rt_sigqueueinfo, &["1", "9", "0"]),
        (libc::SYS_rt_tgsigqueueinfo, &["1", "1", "9", "0"]),
        (libc::SYS_ptrace, &["16", "1", "0", "0"]),
        (libc::SYS_ptrace, &["0", "0", "0", "0"]),
        (libc::SYS_process_vm_writev, &["1", "0", "0", "0", "0", "0"]),
    ] {
        table.push((call(number, arguments), Ended(libc::SIGSYS)));
    }
    table.push((call(libc::SYS_setpriority, &["0", "0", "-5"]), Refused(&[libc::EACCES])));
    // To ask whether one's parent is there is no attack.
    table.push((call(libc::SYS_kill, &["1", "0"]), NO));
    let pidfd = Refused(&[libc::EBADF, libc::EPERM, libc::EINVAL]);
    table.push((call(libc::SYS_pidfd_send_signal, &["0", "9", "0", "0"]), pidfd));
    // To look at it by a descriptor neither, but no signal goes that way.
    for signal in ["9", "15"] {
        table.push((own(&["attack", "pidfd", signal]), NO));
    }
    const CLOSED: Seen = Refused(&[libc::EACCES, libc::EROFS, libc::EPERM, libc::ENOENT]);
    for file in [
        "environ",
        "mem",
        "maps",
        "syscall",
        "stack",
        "auxv",
        "fd/0",
        "fd/1",
        "root/etc",
        "cwd/guest",
    ] {
        table.push((own(&["read", &format!("/proc/1/{file}")]), CLOSED));
    }
    for file in [
        "/proc/1/fd/0",
        "/proc/1/fd/1",
        "/proc/1/mem",
        "/proc/1/oom_score_adj",
        "/proc/1/comm",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/fs/mqueue/queues_max",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/devices/release_agent",
        "/sys/fs/cgroup/devices/devices.allow",
        "/sys/fs/cgroup/cpuset/cpuset.cpus",
        "/etc/passwd",
        "/guest",
        "/dyno/probe",
        "/suid",
        "/etc/ssl/certs/secret",
        "/etc/ssl/certs/new",
        "/etc/ssl/certs/below/new",
        "/x",
        "/dev/x",
        "/proc/x",
        "/sys/x",
        "/dev/mqueue/x",
        "/var/run/docker.sock",
    ] {
        let closed = Refused(&[
            libc::EACCES,
            libc::EROFS,
            libc::EPERM,
            libc::ENOENT,
            libc::EMFILE,
            libc::EISDIR,
        ]);
        table.push((own(&["write", file]), closed));
    }
    for file in [
        "/proc/kcore",
        "/proc/kmsg",
        "/dev/kmsg",
        "/dev/mem",
        "/dev/kvm",
        "/dev/fuse",
        "/etc/shadow",
        "/etc/ssl/certs/below/secret",
    ] {
        let closed = Refused(&[libc::EACCES, libc::EPERM, libc::ENOENT]);
        table.push((own(&["read", file]), closed));
    }
    // To be the last to end when memory runs out.
    table.push((
        own(&["attack", "put", "/proc/self/oom_score_adj", "-1"]),
        Refused(&[libc::EACCES]),
    ));
    if root() {
        table.push((own(&["read", "/disk"]), Refused(&[libc::EPERM, libc::EACCES])));
        table.push((own(&["write", "/disk"]), Refused(&[libc::EPERM, libc::EACCES])));
    }
    for socket in [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/containerd/containerd.sock",
    ] {
        table.push((own(&["attack", "unix", socket]), Refused(&[libc::ENOENT])));
    }
    table.push((own(&["attack", "unix", abstract_name]), Refused(&[libc::ECONNREFUSED])));
    // Addresses of clouds' metadata, of this machine, of any other.
    for address in [
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "192.0.2.1:80",
        "172.17.0.1:80",
        "[2001:db8::1]:80",
    ] {
        let away = Refused(&[libc::ENETUNREACH, libc::EADDRNOTAVAIL]);
        table.push((own(&["connect", address]), away));
    }
    table.push((own(&["connect", host_port]), Refused(&[libc::ECONNREFUSED])));
    table
}
