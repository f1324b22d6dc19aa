//! Joining over Redis. It is never waited for: where it is away, the node registers and claims its prefix when it is
//! back. Only another log's claim, told at the start, is a reason not to start.

use super::super::backend::World;
use super::super::redis::address;
use super::Joined;
use crate::settings::Bus;
use anyhow::Context;
use dualstream_backends::redis::{Commands, LogClaim, RedisRegistry};
use dualstream_core::ErrorKind;
use dualstream_core::log_id::LogId;
use dualstream_core::registry::{About, Membership, Settings};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long Redis may take for a script: whoever waits asked for a list, or starts a server.
const DEADLINE: Duration = Duration::from_secs(1);

/// How long a start waits for Redis to say whose the prefix is.
const START_MAX: Duration = Duration::from_secs(2);

pub(super) async fn join(bus: &Bus, own: About, log: LogId, world: &World) -> anyhow::Result<Joined> {
    let World { clock, entropy } = world.clone();
    let commands = Arc::new(Commands::new(address(bus)?, &bus.prefix.0, DEADLINE));
    let claim = Arc::new(LogClaim::new(commands.clone(), log, clock.clone(), entropy.clone()));
    // Without an answer nobody can say yet whose the prefix is: that is asked again, and told.
    if let Ok(Err(error)) = timeout(START_MAX, claim.take()).await
        && error.kind() == ErrorKind::Conflict
    {
        let mend = error.mend().unwrap_or_default().to_owned();
        return Err(error).with_context(|| format!("cannot share Redis (bus.redis): {mend}"));
    }
    let registry = Arc::new(RedisRegistry::new(commands));
    let (membership, runner) = Membership::new(Settings::default(), registry, own, clock, entropy);
    let (kept, shown) = (claim.clone(), claim);
    let running = vec![
        start(|stopped| runner.run(stopped).boxed()),
        start(|stopped| async move { kept.keep(stopped).await }.boxed()),
    ];
    let prefix: Arc<dyn Fn() -> _ + Send + Sync> = Arc::new(move || shown.health());
    Ok(Joined { membership: Some(membership), prefix: Some(prefix), running })
}

/// Starts a task that runs until its sender is dropped.
fn start(
    run: impl FnOnce(BoxFuture<'static, ()>) -> BoxFuture<'static, ()>,
) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    // The sender going away is the same as its word.
    let stopped = stopped.map(|_| ()).boxed();
    (stop, tokio::spawn(run(stopped)))
}
