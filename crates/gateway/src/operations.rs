//! What operators and the page ask for beside events: topics and channels.

use dualstream_core::channels::Channels;
use dualstream_core::topic_admin::TopicAdmin;

/// The handles behind `/v1/topics` and `/v1/channels`.
#[derive(Clone)]
pub struct Operations {
    /// Administers topics.
    pub topics: TopicAdmin,
    /// Lists channels.
    pub channels: Channels,
}
