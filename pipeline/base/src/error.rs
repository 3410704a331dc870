//! What went wrong, told to a person: what, where, and what to do next. The kind decides the exit
//! code; `docs/exit-codes.md` is the table.

use std::fmt;

use dyno_model::mistake::Mistakes;

/// The kind of an error, which says whose turn it is; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line, a file that people write, or a name in one, is wrong.
    Input,
    /// This machine cannot do it as it is: no right to make containers, engine too old.
    Host,
    /// Network, disk, engine or store failed; trying again may work.
    Infrastructure,
    /// The commit or the case does not work; trying again will not help.
    Case,
    /// Ctrl-C or a termination signal.
    Interrupted,
}

impl Kind {
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Input => 2,
            Self::Host => 3,
            Self::Infrastructure => 4,
            Self::Case => 5,
            Self::Interrupted => 130,
        }
    }
}

/// An error with its kind, a message, causes below it and a hint. Opaque but for the kind.
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    pub hint: Option<String>,
    /// Files with mistakes, shown in place.
    pub mistakes: Vec<Mistakes>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was found; or one error of wrong input that says all that was not, with the hints of each.
pub fn all_or_errors<T>(found: T, mut unknown: Vec<Error>) -> Result<T> {
    match unknown.len() {
        0 => Ok(found),
        1 => Err(unknown.remove(0)),
        _ => {
            let messages: Vec<&str> = unknown.iter().map(|error| error.message.as_str()).collect();
            let mut hints: Vec<&str> = Vec::new();
            for hint in unknown.iter().filter_map(|error| error.hint.as_deref()) {
                if !hints.contains(&hint) {
                    hints.push(hint);
                }
            }
            let hint = (!hints.is_empty()).then(|| hints.join("; "));
            Err(Error { hint, ..Error::input(messages.join("; ")) })
        }
    }
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, mistakes: Vec::new() }
    }

    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Kind::Input, message)
    }

    pub fn host(message: impl Into<String>) -> Self {
        Self::new(Kind::Host, message)
    }

    pub fn infrastructure(message: impl Into<String>) -> Self {
        Self::new(Kind::Infrastructure, message)
    }

    /// An error of a library: wrong input where `is_input`, else of the world, met in `place`.
    pub fn classify(error: impl std::error::Error + 'static, is_input: bool, place: &str) -> Self {
        if is_input {
            return Self::input(chain(&error));
        }
        match Err::<(), _>(error).context(|| place.into()) {
            Err(error) => error,
            Ok(()) => unreachable!("an error was given"),
        }
    }

    /// An error of the file system met while `doing`.
    pub fn from_io(error: std::io::Error, doing: String) -> Self {
        match Err::<(), _>(error).context(|| doing) {
            Err(error) => error,
            Ok(()) => unreachable!("an error was given"),
        }
    }

    /// Adds the next step for the person.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Mistakes> for Error {
    fn from(mistakes: Mistakes) -> Self {
        let count = mistakes.list.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        Self {
            mistakes: vec![mistakes.clone()],
            ..Self::input(format!("{count} {noun} in {}", mistakes.file))
        }
    }
}

/// The causes of `error` in one line, outermost first.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What the system says of a full disk (`strerror(ENOSPC)`), however many programs passed it on.
pub const DISK_FULL: &str = "No space left on device";

const FREE_SPACE: &str =
    "the disk is full: free some space and run the same command again; what is cached is kept";

/// Says what was being done when an error of the world came up.
pub trait WithContext<T> {
    /// Makes it an infrastructure error: "`doing`: cause". A full disk gets its hint.
    fn context(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error + 'static> WithContext<T> for std::result::Result<T, E> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let any: &(dyn std::error::Error + 'static) = &error;
            if let Some(inner) = any.downcast_ref::<Error>() {
                let mut wrapped = Error::new(inner.kind, format!("{}: {inner}", doing()));
                wrapped.hint.clone_from(&inner.hint);
                if wrapped.hint.is_none() && wrapped.message.contains(DISK_FULL) {
                    wrapped.hint = Some(FREE_SPACE.into());
                }
                wrapped.mistakes.clone_from(&inner.mistakes);
                return wrapped;
            }
            let text = chain(any);
            let is_full = any
                .downcast_ref::<std::io::Error>()
                .is_some_and(|e| e.kind() == std::io::ErrorKind::StorageFull)
                || text.contains(DISK_FULL);
            let error = Error::infrastructure(format!("{}: {text}", doing()));
            if is_full { error.hint(FREE_SPACE) } else { error }
        })
    }
}
