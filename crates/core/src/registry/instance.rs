//! A node in the registry.

use crate::clock::Entropy;
use crate::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// Most bytes of an id.
const ID_BYTES_MAX: usize = 64;

/// Names one run of one node: made of fresh random bits at each start, so that nobody takes the place of another.
/// 1–64 of `[A-Za-z0-9_-]`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// Checks an id that came from outside.
    ///
    /// # Errors
    /// `instance_invalid`.
    pub fn new(text: &str) -> Result<InstanceId> {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if text.is_empty() || text.len() > ID_BYTES_MAX || !text.bytes().all(is_legal) {
            let message = "an instance is named by 1 to 64 letters, digits, `_` and `-`";
            return Err(
                Error::invalid("instance_invalid", "instance", message).with_limit(ID_BYTES_MAX as u64)
            );
        }
        Ok(InstanceId(text.into()))
    }

    /// An id nobody had before: 128 fresh bits in hexadecimal.
    pub fn fresh(entropy: &dyn Entropy) -> InstanceId {
        InstanceId(format!("{:016x}{:016x}", entropy.next_u64(), entropy.next_u64()).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who writes: an instance in one of its incarnations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The instance.
    pub id: InstanceId,
    /// Its incarnation: counts up from 1 each time it begins anew.
    pub incarnation: u64,
}

/// What an instance tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The instance, in its incarnation.
    pub owner: Owner,
    /// Version of its program.
    pub version: Arc<str>,
    /// Where it listens, as `host:port`.
    pub address: Arc<str>,
    /// When the process started, ms since 1970 by its own clock.
    pub started_ms: i64,
    /// Connections it has now.
    pub connections: u64,
}
