//! How bytes pass in one direction.

use std::time::Duration;

/// One direction of all connections of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Flow {
    /// As they come.
    #[default]
    Open,
    /// Each as much later; as many as fit into the time.
    Delayed(Duration),
    /// So many bytes a second on each connection.
    Slow {
        /// How many; at least one.
        bytes_per_s: u32,
    },
    /// Not at all, until the direction is opened. Senders are held up once the proxy holds 1 MiB of a connection.
    Held,
    /// Never: they are read and thrown away. Opening the direction resets the connections that lost some.
    Dropped,
    /// So many more, counted over all connections; then something happens.
    CutAfter {
        /// How many.
        bytes: u64,
        /// What happens.
        then: Then,
    },
}

/// What happens when the bytes of [`Flow::CutAfter`] have passed and more come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection they came on is reset, and the direction is open again for all others.
    Reset,
    /// The direction is [`Flow::Held`].
    Hold,
}

impl Flow {
    /// Whether anything can get through, the end of a connection and its beginning included.
    pub(super) fn passes(self) -> bool {
        !matches!(self, Flow::Held | Flow::Dropped)
    }
}
