//! Stresses the transformation of asynchronous functions into state machines, their layout, and
//! the proof that they may be sent between threads, which looks into every state.
//!
//! Each layer awaits the one below it several times and holds values across, so that the state
//! machine of layer n contains those of all layers under it.

use std::future::Future;
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Ready when polled for the second time.
#[derive(Default)]
struct Pause(bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

fn finish<F: Future + Send>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Nobody));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
    }
}

macro_rules! layers {
    ($bottom:ident $($rest:ident)*) => {
        async fn $bottom(depth: u64) -> Result<Vec<u64>, String> {
            Pause::default().await;
            if depth == 0 { Err("nothing left".to_string()) } else { Ok(vec![depth]) }
        }
        layers!(@on $bottom $($rest)*);
    };
    (@on $top:ident) => {
        fn top(depth: u64) -> impl Future<Output = Result<Vec<u64>, String>> + Send {
            $top(depth)
        }
    };
    (@on $below:ident $layer:ident $($rest:ident)*) => {
        async fn $layer(depth: u64) -> Result<Vec<u64>, String> {
            let name = String::from(stringify!($layer));
            let mut all = Vec::new();
            for step in 0..2 {
                let found = $below(depth + step).await.map_err(|error| format!("{name}: {error}"))?;
                Pause::default().await;
                all.extend(found);
            }
            let block = async {
                Pause::default().await;
                all.iter().map(|n| n ^ name.len() as u64).sum::<u64>()
            };
            let sum = block.await;
            match sum % 3 {
                0 => all.push(sum),
                1 => all.extend($below(sum).await?),
                _ => Pause::default().await,
            }
            Ok(all)
        }
        layers!(@on $layer $($rest)*);
    };
}

macro_rules! stacks {
    ($($stack:ident)*) => {
        $(mod $stack {
            use super::*;
            layers!(a b c d e f g h);
            pub fn run(depth: u64) -> usize {
                finish(async move { top(depth).await.map_or(0, |all| all.len()) })
            }
        })*

        pub fn all(depth: u64) -> usize {
            0 $(+ $stack::run(depth))*
        }
    };
}

stacks! { one two three four }
