//! How the program ends: one table from what went wrong to the exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done, or the reader of standard output went away |
//! | 1 | failure |
//! | 2 | wrong usage (clap's own) |
//! | 74 | the log could not be synced; the next start recovers from disk |
//! | 78 | bad configuration |

use crate::output;
use dualstream::serve::SyncFailed;
use dualstream::settings::Problems;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

const FAILURE: u8 = 1;
const IO_ERROR: u8 = 74;
const BAD_CONFIGURATION: u8 = 78;

/// The exit code of a command's result; a failure is told on standard error.
pub fn code(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if matches!(error.downcast_ref(), Some(output::Error::Closed)) {
        return ExitCode::SUCCESS;
    }
    if let Some(problems) = error.downcast_ref::<Problems>() {
        tell(format_args!("error: the configuration is refused\n{problems}"));
        return ExitCode::from(BAD_CONFIGURATION);
    }
    tell(format_args!("error: {error:#}"));
    ExitCode::from(if error.is::<SyncFailed>() { IO_ERROR } else { FAILURE })
}

/// Writes to standard error; when even that is gone there is nobody to tell.
pub fn tell(message: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{message}");
}
