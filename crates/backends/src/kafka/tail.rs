//! The reader of tails.

use super::{Settings, client};
use dualstream_core::mirror::Tail;
use dualstream_core::{Error, ErrorKind, Result};

/// See `Upstream::tail`.
pub(crate) fn open(settings: &Settings) -> Result<Box<dyn Tail>> {
    let _config = client::consumer(settings);
    Err(Error::new(ErrorKind::Unavailable, "log_unavailable", "this part of the log is not there"))
}
