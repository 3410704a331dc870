//! Programs that try dyno from outside: are its verdicts right (`decisions`), do its intervals hold
//! the truth (`live_check`), how still does it hold a machine (`still`)? CI runs the first two.

pub mod dial;
