//! The seam of transactions: several appends and consumer offsets that become readable together or not at all.

use crate::Result;
use crate::log::{Committed, Part};
use futures::future::BoxFuture;

/// Begins transactions. A name has one owner: beginning under it fences every earlier transaction of that name.
pub trait Transactions: Send + Sync {
    /// A new transaction owned by `name` (Kafka's `transactional.id`).
    fn begin<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn Transaction>>>;
}

/// A transaction that is open. Dropping it aborts.
pub trait Transaction: Send {
    /// Adds records; nothing of them is readable, or in any file, before the commit. `TooLarge`
    /// (`transaction_too_large`) past 64 MiB: the transaction stays as it was.
    fn append(&mut self, part: Part) -> Result<()>;
    /// Makes everything durable and readable in one step. `Fenced` when a newer owner began, `Unknown` when the
    /// outcome is open: read back before going on.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<Committed>>;
    /// Drops everything.
    fn abort(self: Box<Self>);
}

/// Most bytes one commit may hold.
pub const COMMIT_BYTES_MAX: usize = 64 << 20;
