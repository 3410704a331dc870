//! Stresses the trait solver, and nothing else: few functions, small code.
//!
//! A list of distinct types is looked up by type. To find the element at place n, the solver
//! proves n nested obligations, each about a list that is itself n types deep. Numbers in unary
//! are multiplied by associated types, which asks for long chains of normalisation.

#![recursion_limit = "1024"]

use std::marker::PhantomData;

pub struct Nil;
pub struct Cons<Head, Tail>(pub Head, pub Tail);

/// Where in a list an element is; found by inference.
pub struct Here;
pub struct After<Place>(PhantomData<Place>);

pub trait Has<Element, Place> {
    fn get(&self) -> &Element;
}

impl<Element, Tail> Has<Element, Here> for Cons<Element, Tail> {
    fn get(&self) -> &Element {
        &self.0
    }
}

impl<Element, Head, Tail, Place> Has<Element, After<Place>> for Cons<Head, Tail>
where
    Tail: Has<Element, Place>,
{
    fn get(&self) -> &Element {
        self.1.get()
    }
}

/// A type for every number.
pub struct Entry<const N: usize>(pub u64);

macro_rules! list {
    () => { Nil };
    ($n:literal $($rest:literal)*) => { Cons(Entry::<$n>($n), list!($($rest)*)) };
}

macro_rules! sum_of_entries {
    ($($n:literal)*) => {
        /// The sum of what every lookup finds.
        pub fn sum_of_entries() -> u64 {
            let list = list!($($n)*);
            0 $(+ Has::<Entry<$n>, _>::get(&list).0)*
        }
    };
}

sum_of_entries! {
     0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19
    20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
    40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59
}

pub struct Zero;
pub struct Next<N>(PhantomData<N>);

pub trait Number {
    const VALUE: u64;
}

impl Number for Zero {
    const VALUE: u64 = 0;
}

impl<N: Number> Number for Next<N> {
    const VALUE: u64 = N::VALUE + 1;
}

pub trait Plus<Other> {
    type Sum;
}

impl<Other> Plus<Other> for Zero {
    type Sum = Other;
}

impl<N: Plus<Other>, Other> Plus<Other> for Next<N> {
    type Sum = Next<N::Sum>;
}

pub trait Times<Other> {
    type Product;
}

impl<Other> Times<Other> for Zero {
    type Product = Zero;
}

impl<N: Times<Other>, Other: Plus<N::Product>> Times<Other> for Next<N> {
    type Product = Other::Sum;
}

type Sum<A, B> = <A as Plus<B>>::Sum;
type Product<A, B> = <A as Times<B>>::Product;
type Three = Next<Next<Next<Zero>>>;
type Five = Sum<Three, Next<Next<Zero>>>;
type Fifteen = Product<Three, Five>;

pub const DEEP: u64 = <Product<Fifteen, Five> as Number>::VALUE;
pub const DEEPER: u64 = <Sum<Product<Fifteen, Five>, Product<Five, Fifteen>> as Number>::VALUE;
