//! The probe confines itself before it reads its first request, and can say what holds.
//!
//! The seccomp filter is installed here and not by the engine, so that it is the same under every
//! engine. It is a list of what is allowed, after Docker's default profile, without what a build
//! or a benchmark never needs (`ptrace`, `process_vm_*`, `io_uring`, `userfaultfd`, `keyctl`, …).
//! The kernel answers calls that are always allowed from a bitmap (Linux 5.11), so a measured
//! process does not pay for the length of the list.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use dyno_probe::{Capacity, IN_MEMORY, PROTOCOL, Program, Sandbox};
use seccompiler::{
    BackendError, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::counters::Counters;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Gives up what cannot be taken back: dumpability, new privileges, most system calls.
pub fn confine() -> Result<(), String> {
    // SAFETY: prctl with constant arguments touches no memory of ours.
    unsafe {
        // A child with another user id must not read this process's memory or descriptors.
        if libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        {
            return Err(format!("prctl: {}", std::io::Error::last_os_error()));
        }
        // The engine's own child may have been bound to other cores; the cpuset still bounds this.
        let mut every: libc::cpu_set_t = std::mem::zeroed();
        (0..libc::CPU_SETSIZE as usize).for_each(|core| libc::CPU_SET(core, &mut every));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &every);
        // No core files. Nor a core handler of the host's, which a limit of 0 does not keep from
        // starting, and 1 does (core(5)).
        let core = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        if libc::setrlimit(libc::RLIMIT_CORE, &core) != 0 {
            return Err(format!("setrlimit: {}", std::io::Error::last_os_error()));
        }
    }
    let install = |filter: Result<SeccompFilter, BackendError>| {
        let program: seccompiler::BpfProgram =
            filter.and_then(TryInto::try_into).map_err(|e| format!("seccomp: {e}"))?;
        seccompiler::apply_filter(&program).map_err(|e| format!("seccomp: {e}"))
    };
    let arch: TargetArch =
        std::env::consts::ARCH.try_into().map_err(|e| format!("seccomp: {e}"))?;
    // `clone3` hides its flags behind a pointer, which a filter cannot follow: with ENOSYS every C
    // library falls back to `clone`, whose flags the last filter sees. Programs that count events
    // or ask what is in memory do without if the kernel seems to have none of that.
    install(SeccompFilter::new(
        Rules::from(ABSENT.map(|call| (call, vec![]))),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
        arch,
    ))?;
    // Libraries that read ahead ask so, and read otherwise where a file system cannot say.
    install(filter(page_cache_queries(), SeccompAction::Errno(libc::EOPNOTSUPP as u32), arch))?;
    // Set by many programs, to no harm if they succeed: but it stays as it is.
    install(filter(unchanged(), SeccompAction::Errno(0), arch))?;
    // What no program does by chance: whoever does it fails, and is seen to.
    install(filter(attacks(), SeccompAction::KillProcess, arch))?;
    install(SeccompFilter::new(
        allowed().map_err(|e| format!("seccomp: {e}"))?,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
        arch,
    ))
}

fn filter(
    rules: Result<Rules, BackendError>,
    action: SeccompAction,
    arch: TargetArch,
) -> Result<SeccompFilter, BackendError> {
    SeccompFilter::new(rules?, SeccompAction::Allow, action, arch)
}

/// A condition on 32 or 64 bits of an argument.
fn when(
    argument: u8,
    long: bool,
    op: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    let length = if long { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    SeccompCondition::new(argument, length, op, value)
}

/// Calls that the kernel seems not to have. `mincore` tells what is in the page cache, where an
/// earlier process may have left word.
const ABSENT: [i64; 3] = [libc::SYS_clone3, libc::SYS_perf_event_open, libc::SYS_mincore];

/// Reads that tell whether something is in the page cache (`RWF_NOWAIT`), or take it out of there
/// (`RWF_DONTCACHE`).
fn page_cache_queries() -> Result<Rules, BackendError> {
    let rule = |flag| SeccompRule::new(vec![when(5, false, SeccompCmpOp::MaskedEq(flag), flag)?]);
    let rules = [0x8, 0x80].map(rule).into_iter().collect::<Result<_, _>>()?;
    Ok(Rules::from([(libc::SYS_preadv2, rules)]))
}

/// The limit of core files.
fn unchanged() -> Result<Rules, BackendError> {
    let core = libc::RLIMIT_CORE as u64;
    let set = SeccompRule::new(vec![when(0, false, SeccompCmpOp::Eq, core)?])?;
    let new = [when(1, false, SeccompCmpOp::Eq, core)?, when(2, true, SeccompCmpOp::Ne, 0)?];
    let new = SeccompRule::new(new.into())?;
    Ok(Rules::from([(libc::SYS_setrlimit, vec![set]), (libc::SYS_prlimit64, vec![new])]))
}

/// Tracing, writing into another process, signals to process 1 (which is the probe). Signal 0
/// asks whether a process is there, as many do of their parent.
fn attacks() -> Result<Rules, BackendError> {
    let mut rules =
        Rules::from([(libc::SYS_ptrace, vec![]), (libc::SYS_process_vm_writev, vec![])]);
    for (call, signal) in [
        (libc::SYS_kill, 1),
        (libc::SYS_tkill, 1),
        (libc::SYS_rt_sigqueueinfo, 1),
        (libc::SYS_tgkill, 2),
        (libc::SYS_rt_tgsigqueueinfo, 2),
    ] {
        let probe = when(0, false, SeccompCmpOp::Eq, 1)?;
        let signal = when(signal, false, SeccompCmpOp::Ne, 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![probe, signal])?]);
    }
    Ok(rules)
}

fn allowed() -> Result<Rules, BackendError> {
    let mut rules: Rules = ALLOWED.iter().map(|call| (*call, vec![])).collect();
    // For the first filter decides on these; here they must pass so that ENOSYS is what is seen.
    rules.extend(ABSENT.map(|call| (call, vec![])));
    // The same with those that are deadly.
    rules.extend([(libc::SYS_ptrace, vec![]), (libc::SYS_process_vm_writev, vec![])]);
    let argument_is = |argument: u8, op: SeccompCmpOp, value: u64| {
        SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)?])
    };
    // No new namespaces.
    const NAMESPACES: u64 = 0x7E02_0000;
    rules.insert(libc::SYS_clone, vec![argument_is(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0)?]);
    // Local, IP and netlink sockets; no AF_ALG, AF_VSOCK, AF_PACKET.
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let family = |f: &i32| argument_is(0, SeccompCmpOp::Eq, *f as u64);
    rules.insert(libc::SYS_socket, families.iter().map(family).collect::<Result<_, _>>()?);
    // Barriers among a program's own threads; those of all processes are work of the kernel's own
    // threads, which would pass for a disturbance by others.
    let barrier = |command: &u64| argument_is(0, SeccompCmpOp::Eq, *command);
    rules.insert(libc::SYS_membarrier, BARRIERS.iter().map(barrier).collect::<Result<_, _>>()?);
    // Nobody takes out of the page cache, or of memory, what others have there too.
    rules.insert(
        libc::SYS_fadvise64,
        vec![argument_is(3, SeccompCmpOp::Ne, libc::POSIX_FADV_DONTNEED as u64)?],
    );
    rules.insert(
        libc::SYS_madvise,
        vec![argument_is(2, SeccompCmpOp::Ne, libc::MADV_PAGEOUT as u64)?],
    );
    // Asking for the personality, or setting the plain one.
    let personality = |p: &u64| argument_is(0, SeccompCmpOp::Eq, *p);
    rules
        .insert(libc::SYS_personality, [0, ASK].iter().map(personality).collect::<Result<_, _>>()?);
    Ok(rules)
}

/// Commands of `membarrier(2)`: the query; private ones, each after its registration (plain, with
/// synchronised cores, with restartable sequences); the question of what is registered.
const BARRIERS: [u64; 8] = [0, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7, 1 << 8, 1 << 9];

/// `personality(2)`: asks and changes nothing.
const ASK: libc::c_ulong = 0xFFFF_FFFF;

/// Gives every program that is started from now on the same address layout. It is inherited, and
/// must be done before [`confine`], whose filter allows no personality but the plain one.
pub fn fix_layout() -> Result<(), String> {
    // SAFETY: both calls touch no memory.
    let outcome = unsafe {
        let current = libc::personality(ASK) as libc::c_ulong;
        libc::personality(current | libc::ADDR_NO_RANDOMIZE as libc::c_ulong)
    };
    if outcome < 0 {
        return Err(format!("personality: {}", std::io::Error::last_os_error()));
    }
    Ok(())
}

/// What holds in here; `program` is what [`program`] read as one.
pub fn inspect(program: Program, counters: &Counters) -> Sandbox {
    let status = Status::read();
    let mounts = mounts();
    let memory = limit(&["memory.max", "memory/memory.limit_in_bytes"]);
    Sandbox {
        protocol: PROTOCOL,
        pid: std::process::id(),
        // SAFETY: getuid cannot fail and touches no memory.
        uid: unsafe { libc::getuid() },
        capabilities: status.capabilities(&["Inh", "Prm", "Eff", "Bnd", "Amb"]),
        no_new_privileges: status.field("NoNewPrivs") == "1",
        seccomp_mode: status.field("Seccomp").parse().unwrap_or(0),
        program,
        cpus: cpu_list(status.field("Cpus_allowed_list")),
        memory_limit_bytes: memory,
        swap_limit_bytes: swap(memory),
        pids_limit: limit(&["pids.max", "pids/pids.max"]),
        interfaces: interfaces(),
        root_read_only: mounts.get("/") == Some(&false),
        mounts,
        in_memory: IN_MEMORY
            .iter()
            .filter_map(|path| Some((path.to_string(), capacity(path)?)))
            .collect(),
        valgrind: std::path::Path::new("/usr/bin/valgrind").exists(),
        // SAFETY: touches no memory.
        fixed_layout: unsafe { libc::personality(ASK) } & libc::ADDR_NO_RANDOMIZE != 0,
        counted: counters.names(),
        not_counted: counters.missing.clone(),
    }
}

/// What this process is and may, which has become a program.
pub fn program() -> Program {
    let status = Status::read();
    let ids = |name| status.field(name).split_whitespace().filter_map(|id| id.parse().ok());
    let limits = LIMITS.map(|(name, resource)| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: fills a live struct.
        unsafe { libc::getrlimit(resource, &mut limit) };
        (name.to_string(), (limit.rlim_max != libc::RLIM_INFINITY).then_some(limit.rlim_max))
    });
    Program {
        uids: ids("Uid").collect(),
        gids: ids("Gid").collect(),
        groups: ids("Groups").collect(),
        capabilities: status.capabilities(&["Inh", "Prm", "Eff", "Amb"]),
        no_new_privileges: status.field("NoNewPrivs") == "1",
        seccomp_mode: status.field("Seccomp").parse().unwrap_or(0),
        limits: limits.into(),
    }
}

/// What `getrlimit` calls a limit: C libraries differ.
#[cfg(target_env = "musl")]
type Resource = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Resource = libc::c_uint;

const LIMITS: [(&str, Resource); 6] = [
    ("core", libc::RLIMIT_CORE),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rtprio", libc::RLIMIT_RTPRIO),
];

/// `/proc/self/status` (proc(5)).
struct Status(String);

impl Status {
    fn read() -> Self {
        Self(fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn field(&self, name: &str) -> &str {
        let line = self.0.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    }

    /// The names in any of these sets; all there are where one cannot be read.
    fn capabilities(&self, sets: &[&str]) -> Vec<String> {
        let set = |name| u64::from_str_radix(self.field(&format!("Cap{name}")), 16);
        let bits = sets.iter().fold(0, |bits, name| bits | set(name).unwrap_or(u64::MAX));
        (0..64).filter(|bit| bits >> bit & 1 == 1).map(capability).collect()
    }
}

fn capability(bit: u32) -> String {
    match bit {
        5 => "KILL".into(),
        6 => "SETGID".into(),
        7 => "SETUID".into(),
        _ => bit.to_string(),
    }
}

fn cpu_list(text: &str) -> Vec<u32> {
    let mut cpus = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            cpus.extend(first..=last);
        }
    }
    cpus.into_iter().collect()
}

fn limit(files: &[&str]) -> Option<u64> {
    let read = |file: &&str| fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok();
    let value = files.iter().find_map(read)?.trim().parse::<u64>().ok()?;
    // cgroup v1 writes "no limit" as the largest multiple of the page size.
    (value < 1 << 60).then_some(value)
}

/// What may be swapped out, beyond `memory`.
fn swap(memory: Option<u64>) -> Option<u64> {
    let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = table.lines().find_map(|line| line.strip_prefix("SwapTotal:"));
    if total.is_some_and(|total| total.trim() == "0 kB") {
        return Some(0);
    }
    // cgroup v1 bounds the sum of both.
    let swap_beyond_memory =
        || Some(limit(&["memory/memory.memsw.limit_in_bytes"])?.saturating_sub(memory?));
    limit(&["memory.swap.max"]).or_else(swap_beyond_memory)
}

fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let name = |line: &str| Some(line.split_once(':')?.0.trim().to_string());
    table.lines().filter_map(name).filter(|name| name != "lo").collect()
}

fn mounts() -> BTreeMap<String, bool> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let kernel = ["proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"];
    let mount = |line: &str| {
        let (fields, rest) = line.split_once(" - ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let mut rest = rest.split(' ');
        if kernel.contains(&rest.next()?) {
            return None;
        }
        let writable = |options: &str| options.split(',').any(|option| option == "rw");
        // Writable only if both the mount and the file system below it are.
        let is_writable = writable(fields.get(5)?) && rest.nth(1).is_none_or(writable);
        let point = (*fields.get(4)?).to_string();
        let writable = is_writable && (point == "/" || others_may_write(&point));
        Some((point, writable))
    };
    table.lines().filter_map(mount).collect()
}

fn capacity(path: &str) -> Option<Capacity> {
    let path = std::ffi::CString::new(path).ok()?;
    // SAFETY: a live string, and a struct of plain numbers that is filled.
    unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        let is_read = libc::statvfs(path.as_ptr(), &mut stat) == 0;
        is_read.then_some(Capacity { bytes: stat.f_blocks * stat.f_frsize, files: stat.f_files })
    }
}

/// Whether anyone but root may write here: engines mask files with devices and hang folders of
/// root's into `/sys`, which are writable mounts that the measured program cannot write to.
fn others_may_write(path: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).is_ok_and(|found| {
        (found.is_dir() || found.is_file()) && (found.mode() & 0o022 != 0 || found.uid() != 0)
    })
}

#[rustfmt::skip]
const ALLOWED: &[i64] = {
    use libc::*;
    &[
        SYS_accept, SYS_accept4, SYS_bind, SYS_brk, SYS_capget, SYS_capset, SYS_chdir,
        SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep, SYS_close, SYS_close_range,
        SYS_connect, SYS_copy_file_range, SYS_dup, SYS_dup3, SYS_epoll_create1, SYS_epoll_ctl,
        SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_execve, SYS_execveat, SYS_exit,
        SYS_exit_group, SYS_faccessat, SYS_faccessat2, SYS_fallocate, SYS_fchdir,
        SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_fcntl, SYS_fdatasync,
        SYS_fgetxattr, SYS_flistxattr, SYS_flock, SYS_fremovexattr, SYS_fsetxattr, SYS_fstat,
        SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_futex, SYS_futex_waitv, SYS_get_robust_list,
        SYS_getcpu, SYS_getcwd, SYS_getdents64, SYS_getegid, SYS_geteuid, SYS_getgid,
        SYS_getgroups, SYS_getitimer, SYS_getpeername, SYS_getpgid, SYS_getpid, SYS_getppid,
        SYS_getpriority, SYS_getrandom, SYS_getresgid, SYS_getresuid, SYS_getrlimit,
        SYS_getrusage, SYS_getsid, SYS_getsockname, SYS_getsockopt, SYS_gettid,
        SYS_gettimeofday, SYS_getuid, SYS_getxattr, SYS_inotify_add_watch, SYS_inotify_init1,
        SYS_inotify_rm_watch, SYS_ioctl, SYS_ioprio_get, SYS_kill, SYS_lgetxattr, SYS_linkat,
        SYS_listen, SYS_listxattr, SYS_llistxattr, SYS_lremovexattr, SYS_lseek, SYS_lsetxattr,
        SYS_memfd_create, SYS_mkdirat, SYS_mknodat,
        SYS_mlock, SYS_mlock2, SYS_mlockall, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_msync,
        SYS_munlock, SYS_munlockall, SYS_munmap, SYS_nanosleep, SYS_newfstatat, SYS_openat,
        SYS_openat2, SYS_pidfd_open, SYS_pidfd_send_signal, SYS_pipe2, SYS_pkey_alloc,
        SYS_pkey_free, SYS_pkey_mprotect, SYS_ppoll, SYS_prctl, SYS_pread64, SYS_preadv,
        SYS_preadv2, SYS_prlimit64, SYS_pselect6, SYS_pwrite64, SYS_pwritev, SYS_pwritev2,
        SYS_read, SYS_readahead, SYS_readlinkat, SYS_readv, SYS_recvfrom, SYS_recvmmsg,
        SYS_recvmsg, SYS_removexattr, SYS_renameat, SYS_renameat2, SYS_restart_syscall,
        SYS_rseq, SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask, SYS_rt_sigqueueinfo,
        SYS_rt_sigreturn, SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_rt_tgsigqueueinfo,
        SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_getaffinity,
        SYS_sched_getattr, SYS_sched_getparam, SYS_sched_getscheduler,
        SYS_sched_rr_get_interval, SYS_sched_setaffinity, SYS_sched_setattr, SYS_sched_setparam,
        SYS_sched_setscheduler, SYS_sched_yield, SYS_seccomp, SYS_sendfile, SYS_sendmmsg,
        SYS_sendmsg, SYS_sendto, SYS_set_robust_list, SYS_set_tid_address, SYS_setfsgid,
        SYS_setfsuid, SYS_setgid, SYS_setgroups, SYS_setitimer, SYS_setpgid, SYS_setpriority,
        SYS_setregid, SYS_setresgid, SYS_setresuid, SYS_setreuid, SYS_setrlimit, SYS_setsid,
        SYS_setsockopt, SYS_setuid, SYS_setxattr, SYS_shutdown, SYS_sigaltstack, SYS_signalfd4,
        SYS_socketpair, SYS_splice, SYS_statfs, SYS_statx, SYS_symlinkat, SYS_sync,
        SYS_sync_file_range, SYS_syncfs, SYS_sysinfo, SYS_tee, SYS_tgkill, SYS_timer_create,
        SYS_timer_delete, SYS_timer_getoverrun, SYS_timer_gettime, SYS_timer_settime,
        SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime, SYS_times, SYS_tkill,
        SYS_truncate, SYS_umask, SYS_uname, SYS_unlinkat, SYS_utimensat, SYS_vmsplice,
        SYS_wait4, SYS_waitid, SYS_write, SYS_writev,
        #[cfg(target_arch = "x86_64")] SYS_access,
        #[cfg(target_arch = "x86_64")] SYS_alarm,
        #[cfg(target_arch = "x86_64")] SYS_arch_prctl,
        #[cfg(target_arch = "x86_64")] SYS_chmod,
        #[cfg(target_arch = "x86_64")] SYS_chown,
        #[cfg(target_arch = "x86_64")] SYS_creat,
        #[cfg(target_arch = "x86_64")] SYS_dup2,
        #[cfg(target_arch = "x86_64")] SYS_epoll_create,
        #[cfg(target_arch = "x86_64")] SYS_epoll_wait,
        #[cfg(target_arch = "x86_64")] SYS_eventfd,
        #[cfg(target_arch = "x86_64")] SYS_fork,
        #[cfg(target_arch = "x86_64")] SYS_futimesat,
        #[cfg(target_arch = "x86_64")] SYS_getdents,
        #[cfg(target_arch = "x86_64")] SYS_getpgrp,
        #[cfg(target_arch = "x86_64")] SYS_inotify_init,
        #[cfg(target_arch = "x86_64")] SYS_lchown,
        #[cfg(target_arch = "x86_64")] SYS_link,
        #[cfg(target_arch = "x86_64")] SYS_lstat,
        #[cfg(target_arch = "x86_64")] SYS_mkdir,
        #[cfg(target_arch = "x86_64")] SYS_mknod,
        #[cfg(target_arch = "x86_64")] SYS_open,
        #[cfg(target_arch = "x86_64")] SYS_pause,
        #[cfg(target_arch = "x86_64")] SYS_pipe,
        #[cfg(target_arch = "x86_64")] SYS_poll,
        #[cfg(target_arch = "x86_64")] SYS_readlink,
        #[cfg(target_arch = "x86_64")] SYS_rename,
        #[cfg(target_arch = "x86_64")] SYS_rmdir,
        #[cfg(target_arch = "x86_64")] SYS_select,
        #[cfg(target_arch = "x86_64")] SYS_signalfd,
        #[cfg(target_arch = "x86_64")] SYS_stat,
        #[cfg(target_arch = "x86_64")] SYS_symlink,
        #[cfg(target_arch = "x86_64")] SYS_time,
        #[cfg(target_arch = "x86_64")] SYS_unlink,
        #[cfg(target_arch = "x86_64")] SYS_utime,
        #[cfg(target_arch = "x86_64")] SYS_utimes,
        #[cfg(target_arch = "x86_64")] SYS_vfork,
    ]
};
