//! Several processes in a row that make one sample, their sum: programs that are short on purpose.

use dyno_probe::{End, Exit, Stream, ThreadTime};

/// Whether another process may follow.
pub fn may_go_on(exit: &Exit) -> bool {
    matches!(exit.end, End::Code(_)) && exit.leftovers == 0 && exit.residue.is_none()
}

/// What two processes came to together: times and counts add up, of memory the larger counts, and
/// of ends and answers the one that is not as before.
pub fn add(so_far: Exit, next: Exit) -> Exit {
    let mut sum = Exit {
        wall_ns: so_far.wall_ns + next.wall_ns,
        user_ns: so_far.user_ns + next.user_ns,
        system_ns: so_far.system_ns + next.system_ns,
        max_rss_bytes: so_far.max_rss_bytes.max(next.max_rss_bytes),
        minor_faults: so_far.minor_faults + next.minor_faults,
        major_faults: so_far.major_faults + next.major_faults,
        voluntary_switches: so_far.voluntary_switches + next.voluntary_switches,
        involuntary_switches: so_far.involuntary_switches + next.involuntary_switches,
        disk_read_bytes: so_far.disk_read_bytes + next.disk_read_bytes,
        first_thread: so_far.first_thread.zip(next.first_thread).map(|(a, b)| ThreadTime {
            running_ns: a.running_ns + b.running_ns,
            waiting_ns: a.waiting_ns + b.waiting_ns,
        }),
        opened: &so_far.opened | &next.opened,
        leftovers: next.leftovers,
        leftover_names: next.leftover_names.clone(),
        residue: next.residue.clone(),
        end: next.end.clone(),
        ..so_far
    };
    if !sum.varied.contains(&Stream::Stdout) && next.stdout_sha256 != sum.stdout_sha256 {
        sum.varied.insert(Stream::Stdout);
        (sum.stdout_bytes, sum.stdout_sha256) = (next.stdout_bytes, next.stdout_sha256);
        sum.stdout_tail = next.stdout_tail;
    }
    if !sum.varied.contains(&Stream::Stderr) && next.stderr_sha256 != sum.stderr_sha256 {
        sum.varied.insert(Stream::Stderr);
        (sum.stderr_sha256, sum.stderr_tail) = (next.stderr_sha256, next.stderr_tail);
    }
    sum
}
