//! What operators and the page ask for beside events: topics, channels, nodes and their clients.

use dualstream_core::bus::Bus;
use dualstream_core::channels::Channels;
use dualstream_core::decisions::Decisions;
use dualstream_core::registry::{About, Membership};
use dualstream_core::topic_admin::TopicAdmin;
use std::sync::Arc;

/// The handles behind `/v1/topics`, `/v1/channels`, `/v1/instances` and `/v1/connections`.
#[derive(Clone)]
pub struct Operations {
    /// Administers topics.
    pub topics: TopicAdmin,
    /// Lists channels.
    pub channels: Channels,
    /// Knows this node and the others.
    pub nodes: Nodes,
}

/// This node, and how it comes to the others.
#[derive(Clone)]
pub struct Nodes {
    /// This node.
    pub own: About,
    /// The registry that the nodes share, where there is one. Without it a node knows of no other.
    pub membership: Option<Membership>,
    /// What the nodes decide, where there are several. Without it nothing is asked of another node.
    pub decisions: Option<Decisions>,
    /// The bus that the nodes share, where there is one: by it a client's commands reach the node that has its session.
    pub control: Option<Arc<dyn Bus>>,
}
