//! What a proxy saw.

/// What passed a proxy since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken from clients.
    pub accepted: u64,
    /// Of these, open now.
    pub open: u64,
    /// Connections that were reset because the target did not take them.
    pub unanswered: u64,
    /// Connections that the proxy reset.
    pub resets: u64,
    /// Bytes from clients.
    pub requests: Passed,
    /// Bytes from the server.
    pub responses: Passed,
}

/// What became of the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Read.
    pub taken: u64,
    /// Of these, written on the other side.
    pub passed: u64,
    /// Of these, thrown away.
    pub dropped: u64,
}
