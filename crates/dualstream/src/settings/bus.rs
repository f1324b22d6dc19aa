//! Settings of the bus: in this process, or Redis.

use super::value::{Given, Range, Slot};
use super::{Period, Size};
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;

/// Settings of the bus.
#[derive(Clone, Debug, PartialEq)]
pub struct Bus {
    /// Where Redis is; none for the bus in this process.
    pub redis: RedisUrl,
    /// Holds the password for Redis.
    pub password_file: OptionalFile,
    /// Holds the password for the Sentinels.
    pub sentinel_password_file: OptionalFile,
    /// Holds the certificates that TLS to Redis trusts.
    pub ca_file: OptionalFile,
    /// What every name on Redis begins with.
    pub prefix: Prefix,
    /// Connections that share the subscriptions.
    pub connections: u64,
    /// Whether a Cluster carries each message within its shard alone.
    pub sharded: bool,
    /// Bytes that wait to be published.
    pub queue_bytes_max: Size,
    /// Bytes that wait for one channel or pattern of this node.
    pub subscriber_bytes_max: Size,
    /// How long Redis may take to answer.
    pub deadline: Period,
    /// How often each subscribing connection is proved.
    pub probe_interval: Period,
}

/// An address of Redis, or empty. It may hold a password, so it is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RedisUrl(pub String);

/// A file, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionalFile(pub Option<PathBuf>);

/// What names begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix(pub String);

impl Default for Bus {
    fn default() -> Bus {
        Bus {
            redis: RedisUrl::default(),
            password_file: OptionalFile::default(),
            sentinel_password_file: OptionalFile::default(),
            ca_file: OptionalFile::default(),
            prefix: Prefix::default(),
            connections: 2,
            sharded: false,
            queue_bytes_max: Size::mebibytes(8),
            subscriber_bytes_max: Size::mebibytes(4),
            deadline: Period::millis(100),
            probe_interval: Period::seconds(5),
        }
    }
}

impl RedisUrl {
    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "RedisUrl(set)" } else { "RedisUrl(none)" })
    }
}

/// Whether it is an address is checked with the other settings, in words that leave the password out.
impl Slot for RedisUrl {
    fn wants(&self, _: Range) -> String {
        "an address like \"redis://localhost:6379\", or \"\" for the bus in this process".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        given.string().map(|text| text.trim().clone_into(&mut self.0)).is_some()
    }
    fn show(&self) -> String {
        format!("{:?}", if self.is_set() { "(set)" } else { "" })
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string"})
    }
}

impl Slot for OptionalFile {
    fn wants(&self, _: Range) -> String {
        "a path, or \"\"".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        let Some(text) = given.string().filter(|text| !text.contains('\0')) else { return false };
        self.0 = (!text.is_empty()).then(|| PathBuf::from(text));
        true
    }
    fn show(&self) -> String {
        format!("{:?}", self.0.as_ref().map(|path| path.display().to_string()).unwrap_or_default())
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string"})
    }
}

impl Slot for Prefix {
    fn wants(&self, _: Range) -> String {
        "up to 64 bytes of a channel's characters".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        given.string().map(|text| text.clone_into(&mut self.0)).is_some()
    }
    fn show(&self) -> String {
        format!("{:?}", self.0)
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string", "maxLength": 64})
    }
}
