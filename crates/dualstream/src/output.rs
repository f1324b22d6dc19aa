//! Standard output: lines for people or for programs. A reader that goes away (`| head`) ends the program quietly.

use indicatif::HumanCount;
use std::io::{self, Write};

/// Whom the output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// People.
    Human,
    /// Programs: one JSON value a line.
    Json,
}

/// Why nothing can be written any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reader went away: not a failure.
    #[error("standard output was closed")]
    Closed,
    /// Anything else.
    #[error("cannot write to standard output")]
    Failed(#[source] io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Error::Closed,
            _ => Error::Failed(error),
        }
    }
}

/// Writes a line and hands it on at once.
pub fn line(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes text that already has its line ends.
pub fn text(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A number with its thousands apart.
pub fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// So many of something: `1 event`, `1,204 events`.
pub fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}
