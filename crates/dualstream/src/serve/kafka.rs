//! Kafka as the log, with its mirror on this node.

use super::backend::{Backend, World};
use crate::settings::Settings;
use dualstream_log::FileStorage;

/// Reaches the cluster, creates what topics are missing and opens the mirror.
pub(super) async fn open(_: &Settings, _: &World, _: FileStorage) -> anyhow::Result<Backend> {
    anyhow::bail!("this build has no Kafka backend yet")
}
