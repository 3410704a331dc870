//! Stresses the expansion of `macro_rules`: matching, transcription and hygiene.
//!
//! `program!` translates a stack language to Rust. It eats one word per step and hands the rest
//! to itself, so that a program of n words makes the compiler match and copy n²/2 tokens. What
//! is left after expansion is small.

#![recursion_limit = "1024"]

/// Words: numbers, `dup`, `swap`, `add`, `sub`, `mul`, `times N { … }`.
macro_rules! program {
    (@step $stack:ident [$($done:tt)*]) => { $($done)* };
    (@step $stack:ident [$($done:tt)*] dup $($rest:tt)*) => {
        program! { @step $stack [$($done)* dup(&mut $stack);] $($rest)* }
    };
    (@step $stack:ident [$($done:tt)*] swap $($rest:tt)*) => {
        program! { @step $stack [$($done)* swap(&mut $stack);] $($rest)* }
    };
    (@step $stack:ident [$($done:tt)*] add $($rest:tt)*) => {
        program! { @step $stack [$($done)* two(&mut $stack, u64::wrapping_add);] $($rest)* }
    };
    (@step $stack:ident [$($done:tt)*] sub $($rest:tt)*) => {
        program! { @step $stack [$($done)* two(&mut $stack, u64::wrapping_sub);] $($rest)* }
    };
    (@step $stack:ident [$($done:tt)*] mul $($rest:tt)*) => {
        program! { @step $stack [$($done)* two(&mut $stack, u64::wrapping_mul);] $($rest)* }
    };
    (@step $stack:ident [$($done:tt)*] times $n:literal { $($body:tt)* } $($rest:tt)*) => {
        program! { @step $stack [$($done)* for _ in 0..$n { program! { @step $stack [] $($body)* } }] $($rest)* }
    };
    (@step $stack:ident [$($done:tt)*] $number:literal $($rest:tt)*) => {
        program! { @step $stack [$($done)* $stack.push($number);] $($rest)* }
    };
    ($(fn $name:ident { $($word:tt)* })*) => {
        $(pub fn $name() -> Vec<u64> {
            let mut stack = Vec::new();
            program! { @step stack [] $($word)* }
            stack
        })*
    };
}

/// Repeats the words of every function 24 times before they are translated.
macro_rules! repeated {
    ($($name:ident { $($word:tt)* })*) => {
        program! { $(fn $name {
            $($word)* $($word)* $($word)* $($word)* $($word)* $($word)* $($word)* $($word)*
            $($word)* $($word)* $($word)* $($word)* $($word)* $($word)* $($word)* $($word)*
            $($word)* $($word)* $($word)* $($word)* $($word)* $($word)* $($word)* $($word)*
        })* }
    };
}

#[inline(never)]
fn dup(stack: &mut Vec<u64>) {
    let top = stack[stack.len() - 1];
    stack.push(top);
}

#[inline(never)]
fn swap(stack: &mut Vec<u64>) {
    let top = stack.len() - 1;
    stack.swap(top, top - 1);
}

#[inline(never)]
fn two(stack: &mut Vec<u64>, operation: fn(u64, u64) -> u64) {
    let right = stack.pop().expect("two numbers");
    let left = stack.pop().expect("two numbers");
    stack.push(operation(left, right));
}

repeated! {
    squares { 1 dup mul 2 dup mul add 3 dup mul add }
    cubes { 1 2 dup dup mul mul add times 3 { dup add } swap }
    powers { 2 times 9 { dup mul } 1 add }
    sums { 1 2 add 3 add 4 add 5 add 6 add 7 add 8 add }
    mixed { 5 dup swap sub 7 add dup times 2 { 3 mul 1 sub swap } add }
    nested { 1 1 times 2 { times 3 { times 5 { 1 add } dup add } swap } }
}
