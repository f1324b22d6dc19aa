//! One file per subcommand: its arguments, and what it does.

pub mod bench;
pub mod completions;
pub mod config;
pub mod connection;
pub mod copy_log;
pub mod instance;
pub mod log;
pub mod publish;
pub mod replay;
pub mod serve;
pub mod subscribe;
pub mod topic;

use std::future::Future;

/// Runs a client command on this thread.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
