//! The seam of the shared registry: which nodes there are, and who is connected to each.
//!
//! ```text
//!  session ── put, remove ──▶ Membership (this node's table) ── Runner: begin, put, renew ──▶ Registry (shared)
//!                                                                                                 │
//!  page, API ◀───────────────────── instances, connections of each ◀──────────────────────────────┘
//! ```
//! Everything in it is held by a lease: a node that dies leaves nothing for longer than [`LEASE`]. A node that was away
//! for longer comes back under a new *incarnation* and says everything again; what it said before, and what it may
//! still say late under the old one, counts no more (fencing by the instance's id, which is made of fresh random bits
//! at each start, and its incarnation, which counts up within it).
//!
//! What it is not: a truth. A list may miss who came a moment ago and show who went a moment ago; no delivery, right or
//! decision depends on it.

mod connection;
mod counters;
mod instance;
mod membership;
mod runner;
mod settings;
mod table;

pub use connection::Connection;
pub use counters::Counters;
pub use instance::{Instance, InstanceId, Owner};
pub use membership::{About, Membership};
pub use runner::Runner;
pub use settings::Settings;

use crate::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// How long an instance or a connection stands without being renewed.
pub const LEASE: Duration = Duration::from_secs(120);
/// How often both are renewed, give or take a tenth.
pub const HEARTBEAT: Duration = Duration::from_secs(30);
/// Most instances that are listed.
pub const INSTANCES_MAX: usize = 1_000;
/// Most connections of one page.
pub const PAGE_CONNECTIONS_MAX: usize = 1_000;

/// A registry that several nodes share. Nodes write to it through a [`Membership`], which queues, batches and says
/// everything again where that is needed; anybody reads it.
///
/// *Leases*: what is not renewed for [`LEASE`] is gone by itself, by one clock for all (the registry's own, never the
/// nodes'). An instance that is gone takes its connections with it.
///
/// *Fencing*: every write names its [`Owner`]. Unless exactly that incarnation stands there now, the write changes
/// nothing and is [`ErrorKind::Fenced`] (`registry_fenced`); the caller goes on by beginning a later incarnation. So a
/// write that comes late, after a pause or out of an old connection, never revives or overwrites.
///
/// *Outcome*: after any other error, the backend's (`redis_unavailable`, …), the write may have been done, may not, or may
/// yet be: the caller begins a later incarnation. Nothing waits for longer than the backend's deadline.
///
/// *Concurrency*: calls of different owners may overlap; one owner makes one call after the other. A dropped future may
/// have done its work, as after an error.
pub trait Registry: Send + Sync {
    /// Says that an instance is alive. [`Beat::Begin`]: it stands from now on with nothing in it, in place of all that
    /// stood under its id; `Fenced` where the same or a later incarnation stands. [`Beat::Renew`]: its lease begins
    /// anew and what it tells of itself replaces what it told before; its connections are renewed by putting them again.
    /// Answers how many connections stand there, those included whose lease ended and that were not removed.
    fn heartbeat(&self, instance: Instance, beat: Beat) -> BoxFuture<'_, Result<usize>>;

    /// Puts connections of an instance, each with a lease of its own; one that stands there is replaced and renewed.
    fn put(&self, owner: Owner, connections: Vec<Arc<Connection>>) -> BoxFuture<'_, Result<()>>;

    /// Takes away connections, or the whole instance. What is not there is no error.
    fn remove(&self, owner: Owner, removal: Removal) -> BoxFuture<'_, Result<()>>;

    /// The instances whose lease holds, by id; at most [`INSTANCES_MAX`]. Those of which nothing can be read now are
    /// missing and counted, unless that is all of them.
    fn instances(&self) -> BoxFuture<'_, Result<Instances>>;

    /// A page of an instance's connections, of about `limit` (at most [`PAGE_CONNECTIONS_MAX`], and sometimes a few
    /// more than asked for), from the start or from where a page before it ended. A connection that stands from the
    /// first page to the last is in one of them, now and then in two; no order. An instance that is not there has none.
    fn connections(
        &self,
        instance: InstanceId,
        after: Option<PageEnd>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page>>;
}

/// Which heartbeat it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The first of an incarnation.
    Begin,
    /// A later one.
    Renew,
}

/// What to take away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Connections, by client id.
    Connections(Vec<Arc<str>>),
    /// The instance with all its connections.
    Instance,
}

/// An instance of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it told of itself with its last heartbeat.
    pub instance: Instance,
    /// How much of its lease is left.
    pub left: Duration,
}

/// The instances of the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// Those that could be read.
    pub listed: Vec<Listed>,
    /// How many could not.
    pub unread: u64,
}

/// Some of an instance's connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The connections; perhaps none although more follow.
    pub connections: Vec<Connection>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<PageEnd>,
}

/// Where a page ended, for the next one. Opaque: only the registry that made it, and only for the same instance,
/// understands it; any other text is `page_invalid` or gives any page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageEnd(pub Box<str>);

/// The owner is not the one that stands there: begin a later incarnation.
pub fn fenced() -> Error {
    let message = "the instance's lease ended, or a later incarnation took its place";
    Error::new(ErrorKind::Fenced, "registry_fenced", message)
}

/// The text does not say where a page ended.
pub fn page_invalid() -> Error {
    Error::invalid("page_invalid", "after", "the text does not name the end of a page of connections")
}
