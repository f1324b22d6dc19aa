//! Records of spans.

use super::Settings;
use dualstream_core::log::Span;
use dualstream_core::mirror::Run;
use dualstream_core::topic::TopicName;
use dualstream_core::{Error, ErrorKind, Result};

/// The readers of ranges of one cluster.
#[derive(Debug)]
pub(crate) struct Ranges;

impl Ranges {
    /// None of them is connected yet.
    pub(crate) fn new(_settings: &Settings) -> Result<Ranges> {
        Ok(Ranges)
    }

    /// See `Upstream::fetch`.
    pub(crate) async fn fetch(&self, _topic: &TopicName, _span: Span, _bytes_max: usize) -> Result<Run> {
        Err(Error::new(ErrorKind::Unavailable, "log_unavailable", "this part of the log is not there"))
    }
}
