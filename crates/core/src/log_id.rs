//! Which log a node serves: nodes that share a bus must announce positions of the same one.

use std::fmt;

/// Names a log, wherever it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogId {
    /// A data directory, by the random number in its catalog: one node's.
    Embedded(u64),
    /// A topic of a Kafka cluster: any number of nodes'.
    Kafka {
        /// Id of the cluster, as its brokers tell it.
        cluster: String,
        /// The topic of events.
        topic: String,
    },
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogId::Embedded(id) => write!(f, "embedded {id:016x}"),
            LogId::Kafka { cluster, topic } => write!(f, "kafka {cluster} {topic}"),
        }
    }
}
