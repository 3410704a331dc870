//! The same random bytes each time, for runs whose instructions are counted.
//!
//! A program whose hash maps are seeded anew in each process executes a few instructions more or
//! less each time. This library stands before the C library (`LD_PRELOAD`) and answers in its place
//! whoever asks it for randomness: also by `syscall(2)`, as the crate `getrandom` 0.2 does. What is
//! static, opens `/dev/urandom` or asks the kernel or the processor itself is not reached. It needs
//! no C library of its own, so that one build serves images of any.

#![no_std]

use core::ffi::{c_int, c_long, c_uint};
use core::sync::atomic::{AtomicU64, Ordering};

static STATE: AtomicU64 = AtomicU64::new(0);

/// SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"). It goes
/// on from call to call: who asks again because a name is taken must get another.
fn next() -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = STATE.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// # Safety
/// `to` must point to `len` bytes that may be written.
unsafe fn fill(to: *mut u8, len: usize) {
    for i in 0..len {
        // SAFETY: within what the caller gave.
        unsafe { to.add(i).write(next() as u8) };
    }
}

/// # Safety
/// As `getrandom(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(to: *mut u8, len: usize, _flags: c_uint) -> isize {
    // SAFETY: the caller's promise.
    unsafe { fill(to, len) };
    len as isize
}

/// # Safety
/// As `getentropy(3)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(to: *mut u8, len: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { fill(to, len) };
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn arc4random() -> u32 {
    next() as u32
}

/// # Safety
/// As `arc4random_buf(3)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arc4random_buf(to: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { fill(to, len) };
}

#[unsafe(no_mangle)]
pub extern "C" fn arc4random_uniform(bound: u32) -> u32 {
    next().checked_rem(bound.into()).unwrap_or(0) as u32
}

#[cfg(target_arch = "x86_64")]
const GETRANDOM: c_long = 318;
#[cfg(target_arch = "aarch64")]
const GETRANDOM: c_long = 278;

unsafe extern "C" {
    /// The thread's `errno`, in glibc and musl.
    fn __errno_location() -> *mut c_int;
}

/// In C it takes any number of arguments; on both architectures whole numbers are passed the same
/// way as here.
///
/// # Safety
/// As `syscall(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if number == GETRANDOM {
        // SAFETY: the caller's promise.
        return unsafe { getrandom(a as *mut u8, b as usize, c as c_uint) as c_long };
    }
    // SAFETY: the caller's promise.
    let answer = unsafe { pass_on(number, [a, b, c, d, e, f]) };
    if !(-4095..0).contains(&answer) {
        return answer;
    }
    // SAFETY: the C library's own.
    unsafe { __errno_location().write(-answer as c_int) };
    -1
}

#[cfg(target_arch = "x86_64")]
unsafe fn pass_on(number: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    let answer;
    // SAFETY: the kernel's calling convention; the call is the caller's.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number => answer, in("rdi") a, in("rsi") b,
            in("rdx") c, in("r10") d, in("r8") e, in("r9") f, out("rcx") _, out("r11") _,
            options(nostack));
    }
    answer
}

#[cfg(target_arch = "aarch64")]
unsafe fn pass_on(number: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    let answer;
    // SAFETY: the kernel's calling convention; the call is the caller's.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number, inlateout("x0") a => answer, in("x1") b,
            in("x2") c, in("x3") d, in("x4") e, in("x5") f, options(nostack));
    }
    answer
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
