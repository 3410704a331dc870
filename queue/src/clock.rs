//! Time, as a host knows it.

use std::time::Duration;

/// A host's own clocks.
pub trait Clock: Send + Sync {
    /// Time that only grows, since some moment. All waiting is measured by it.
    fn now(&self) -> Duration;

    /// The time of day in µs since 1970: for people, and for the age of requests. It may be wrong.
    fn wall_us(&self) -> i64;

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_us(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
