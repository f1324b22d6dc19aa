//! What tests of dualstream share: a clock and entropy they own, and one conformance suite per seam.
//!
//! A suite is a list of named checks that use nothing but the seam, so the same list runs against memory, files and
//! real servers:
//!
//! ```text
//! testing::run(testing::LOG, || async { Backend { … } }).await      each check on a backend of its own
//! ```
//! A check panics when the contract is broken. It is not for production code.

mod bus;
mod clock;
mod damage;
mod decisions;
mod log;
mod reads;
mod registry;
mod sample;
mod sources;
mod tails;
mod topics;
mod transactions;
mod upstream;

pub use bus::CHECKS as BUS;
pub use clock::{ManualClock, SeededEntropy};
pub use damage::CHECKS as DAMAGE;
pub use decisions::CHECKS as DECISIONS;
pub use log::CHECKS as LOG;
pub use reads::CHECKS as READS;
pub use registry::CHECKS as REGISTRY;
pub use sample::{commit_all, event_record, part, read_all};
pub use sources::CHECKS as SOURCES;
pub use tails::{CHECKS as TAILS, Follower, places as tail_places};
pub use topics::CHECKS as TOPICS;
pub use transactions::CHECKS as TRANSACTIONS;
pub use upstream::{CHECKS as UPSTREAM, Foreign, UpstreamBackend};

use crate::bus::Bus;
use crate::log::Log;
use crate::record::Record;
use crate::registry::Registry;
use crate::sources::Sources;
use crate::topic::TopicName;
use crate::topics::Topics;
use crate::transaction::Transactions;
use futures::future::LocalBoxFuture;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// One check of a suite over `S`.
pub struct Check<S> {
    /// Its name, for reports.
    pub name: &'static str,
    /// What it does.
    pub run: fn(S) -> LocalBoxFuture<'static, ()>,
}

/// A log with its administration and transactions: what the suites [`LOG`], [`READS`], [`TOPICS`],
/// [`SOURCES`], [`TRANSACTIONS`] and [`DECISIONS`] run on.
pub struct Backend {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Its topics.
    pub topics: Arc<dyn Topics>,
    /// What it lists of them.
    pub sources: Arc<dyn Sources>,
    /// Its transactions.
    pub transactions: Arc<dyn Transactions>,
    /// What topic and transaction names begin with, so that checks can share a server.
    pub prefix: String,
    /// Damages the stored bytes of an event, where that can be done. Others may be lost with it.
    pub damage: Option<Damage>,
    /// Dropped after the check: directories, tasks.
    pub keep: Box<dyn Any + Send>,
}

/// Damages the stored bytes of an event of a topic.
pub type Damage = Box<dyn Fn(&TopicName, &Record) + Send>;

impl Backend {
    /// A topic name of this check.
    pub fn topic(&self, name: &str) -> TopicName {
        TopicName::new(&format!("{}-{name}", self.prefix)).expect("a legal prefix makes a legal topic name")
    }
}

/// What the suite [`BUS`] runs on.
pub struct BusBackend {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// What channel names begin with (a legal `source_id`), so that checks can share a server.
    pub prefix: String,
    /// Dropped after the check.
    pub keep: Box<dyn Any + Send>,
}

/// What the suite [`REGISTRY`] runs on: a registry of its own, empty.
pub struct RegistryBackend {
    /// The registry.
    pub registry: Arc<dyn Registry>,
    /// Lets all leases grow older.
    pub pass: Pass,
    /// Dropped after the check.
    pub keep: Box<dyn Any + Send>,
}

/// Lets time pass, as leases see it.
pub type Pass = Box<dyn Fn(Duration) -> LocalBoxFuture<'static, ()> + Send>;

impl RegistryBackend {
    /// Lets all leases grow older by so much.
    pub async fn pass(&self, time: Duration) {
        (self.pass)(time).await;
    }
}

/// Runs every check of a suite on a backend of its own.
pub async fn run<S>(checks: &[Check<S>], make: impl AsyncFn() -> S) {
    for check in checks {
        tracing::info!(check = check.name, "conformance");
        (check.run)(make().await).await;
    }
}

/// All suites of a log: [`LOG`], [`READS`] and [`DAMAGE`].
pub async fn log(make: impl AsyncFn() -> Backend) {
    run(LOG, &make).await;
    run(READS, &make).await;
    run(DAMAGE, &make).await;
}

/// The suites of what is beside the records: [`TOPICS`] and [`SOURCES`].
pub async fn topics(make: impl AsyncFn() -> Backend) {
    run(TOPICS, &make).await;
    run(SOURCES, &make).await;
}

/// The suite [`TRANSACTIONS`].
pub async fn transactions(make: impl AsyncFn() -> Backend) {
    run(TRANSACTIONS, make).await;
}

/// The suite [`DECISIONS`].
pub async fn decisions(make: impl AsyncFn() -> Backend) {
    run(DECISIONS, make).await;
}

/// The suite [`BUS`].
pub async fn bus(make: impl AsyncFn() -> BusBackend) {
    run(BUS, make).await;
}

/// The suite [`REGISTRY`].
pub async fn registry(make: impl AsyncFn() -> RegistryBackend) {
    run(REGISTRY, make).await;
}

/// The suites of a log that stands elsewhere: [`UPSTREAM`] and [`TAILS`].
pub async fn upstream(make: impl AsyncFn() -> UpstreamBackend) {
    run(UPSTREAM, &make).await;
    run(TAILS, &make).await;
}

/// A list of checks from `async fn`s, named after them.
macro_rules! checks {
    ($state:ty: $($check:ident),* $(,)?) => {
        &[$($crate::testing::Check::<$state> {
            name: stringify!($check),
            run: |state| Box::pin($check(state)),
        }),*]
    };
}
use checks;
