//! How the bus over Redis behaves.

use super::Address;
use dualstream_core::channel::Channel;
use dualstream_core::clock::Entropy;
use dualstream_core::fan_out::QUEUE_BYTES_MAX;
use dualstream_core::{Error, Result};
use std::time::Duration;

/// Longest prefix of names on Redis.
pub const PREFIX_BYTES_MAX: usize = 64;

/// How the bus over Redis behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Redis is.
    pub address: Address,
    /// Where subscriptions are made, when not there: another way to the same messages, as through a replica.
    pub subscribe_at: Option<Address>,
    /// What every name on Redis begins with, so that deployments can share one.
    pub prefix: String,
    /// How many connections share the subscriptions. With sharded Pub/Sub there is one per shard.
    pub connections: usize,
    /// Whether a Redis Cluster carries each message within its shard alone, and not to all its nodes: then there are no
    /// patterns.
    pub sharded: bool,
    /// Most bytes that wait to be published, with sharded Pub/Sub to one shard; past it the oldest are dropped.
    pub queue_bytes_max: usize,
    /// Most bytes that wait for one subscriber on this node; past it the newest are dropped, which it is told.
    pub subscriber_bytes_max: usize,
    /// Longest wait for the answer to what was published. Redis is taken for hung after it.
    pub deadline: Duration,
    /// How often each subscribing connection is proved to bring what is published.
    pub probe_interval: Duration,
}

impl Settings {
    /// The defaults, for a Redis at `address`.
    pub fn new(address: Address) -> Settings {
        Settings {
            address,
            subscribe_at: None,
            prefix: String::new(),
            connections: 2,
            sharded: false,
            queue_bytes_max: 8 << 20,
            subscriber_bytes_max: QUEUE_BYTES_MAX,
            deadline: Duration::from_millis(100),
            probe_interval: Duration::from_secs(5),
        }
    }

    /// What is wrong with them, if something is.
    ///
    /// # Errors
    /// `invalid_redis_prefix`, `redis_not_sharded`.
    pub fn check(&self) -> Result<()> {
        Settings::check_prefix(&self.prefix)?;
        match self.sharded {
            true => Settings::check_sharded(&self.address),
            false => Ok(()),
        }
    }

    /// What is wrong with sharded Pub/Sub at an address, if something is: only a Cluster has shards.
    ///
    /// # Errors
    /// `redis_not_sharded`.
    pub fn check_sharded(address: &Address) -> Result<()> {
        if address.is_cluster() {
            return Ok(());
        }
        let message = "sharded Pub/Sub is for a Redis Cluster (redis+cluster://), and this is none";
        Err(Error::invalid("redis_not_sharded", "sharded", message))
    }

    /// What the name of a new probe begins with.
    pub(super) fn probe(&self, entropy: &dyn Entropy) -> String {
        format!("{}dualstream:probe:{:016x}", self.prefix, entropy.next_u64())
    }

    /// What is wrong with a prefix, if something is: names and patterns on Redis must mean what they say, so it holds no
    /// character that Redis' patterns give a meaning, and no braces, for they would decide which keys of a Cluster are
    /// together.
    ///
    /// # Errors
    /// `invalid_redis_prefix`.
    pub fn check_prefix(prefix: &str) -> Result<()> {
        let legal = prefix.len() <= PREFIX_BYTES_MAX
            && !prefix.contains(['{', '}'])
            && Channel::new(&format!("{prefix}x")).is_ok();
        if !legal {
            let message = "a prefix is up to 64 bytes of a channel's characters, without braces, and begins with neither ':' nor '$'";
            return Err(
                Error::invalid("invalid_redis_prefix", "prefix", message).with_limit(PREFIX_BYTES_MAX as u64)
            );
        }
        Ok(())
    }
}
