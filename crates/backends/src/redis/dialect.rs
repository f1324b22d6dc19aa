//! Classic Pub/Sub or sharded: in which words Redis is asked, and what its answers mean.

use super::fault;
use redis::RedisError;
use std::sync::Arc;
use tokio::sync::Notify;

/// How the bus speaks to Redis.
#[derive(Clone)]
pub(super) enum Dialect {
    /// Every server brings what is published at any.
    Classic,
    /// Each channel is at the master that serves its slot.
    Sharded {
        /// Told when a server does not serve what it was asked for, or not at all: somebody else may.
        doubt: Arc<Notify>,
    },
}

impl Dialect {
    pub fn publish(&self) -> &'static str {
        match self {
            Dialect::Classic => "PUBLISH",
            Dialect::Sharded { .. } => "SPUBLISH",
        }
    }

    pub fn subscribe(&self) -> &'static str {
        match self {
            Dialect::Classic => "SUBSCRIBE",
            Dialect::Sharded { .. } => "SSUBSCRIBE",
        }
    }

    /// Who serves what may have changed.
    pub fn doubt(&self) {
        if let Dialect::Sharded { doubt } = self {
            doubt.notify_one();
        }
    }

    /// Why, in a few words.
    pub fn reason(&self, error: &RedisError) -> String {
        let is_unknown = error.detail().is_some_and(|detail| detail.starts_with("unknown command"));
        match self {
            Dialect::Sharded { .. } if is_unknown => {
                let reason = fault::reason(error);
                format!(
                    "it has no sharded Pub/Sub, as Redis has from 7.0 on; leave out `bus.sharded` ({reason})"
                )
            }
            _ => fault::reason(error),
        }
    }
}
