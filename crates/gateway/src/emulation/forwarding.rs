//! Commands for sessions of other nodes, over the bus.
//!
//! ```text
//! POST /emulation ─▶ send ─▶ dualstream:node:{instance} ─▶ listen ─▶ Sessions
//! ```
//! A message is the session's id, a line end, and the commands, at most those of one request. It may be lost, late or come to
//! a node that has no such session any more: it is dropped then, and counted. Nobody waits for it and nothing durable
//! trusts it; who asks for something without an answer asks again.

use super::sessions::Outcome;
use super::unknown_session;
use crate::app::App;
use crate::operations::Nodes;
use crate::pace::{Pace, Verdict};
use bytes::Bytes;
use dualstream_core::bus::{Bus, Delivery, Message};
use dualstream_core::channel::{Channel, Target};
use dualstream_core::registry::{InstanceId, Membership};
use dualstream_core::{Error, ErrorKind, Result};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// A node that stood in the registry is taken to be there for so long. Its clients lose their streams with it anyhow.
const KNOWN_FOR: Duration = Duration::from_secs(30);
/// How often the registry is asked because of nodes that are not known, in a second and at once.
const QUESTIONS: u32 = 10;
/// Bytes of commands that are passed on, in a second and at once: the bus carries announcements, too.
const BYTES_PER_SECOND: u32 = 4 << 20;
/// Pause before the bus is asked again for what comes here.
const RETRY: Duration = Duration::from_secs(10);

/// The way to the other nodes.
pub(crate) struct Forwarding(Mutex<State>);

struct State {
    /// The nodes that the registry named, and when.
    seen: BTreeMap<InstanceId, Instant>,
    questions: Pace,
    bytes: Pace,
}

impl Default for Forwarding {
    fn default() -> Forwarding {
        let pace = |per_second: u32| Pace::new(f64::from(per_second), per_second);
        let (questions, bytes) = (pace(QUESTIONS), pace(BYTES_PER_SECOND));
        Forwarding(Mutex::new(State { seen: BTreeMap::new(), questions, bytes }))
    }
}

impl Forwarding {
    /// Sends commands to the session of another node. That they were sent says nothing of whether they arrive.
    ///
    /// # Errors
    /// `unknown_session`, `bus_needed`, `forwarding_unavailable`; the registry's.
    pub async fn send(&self, nodes: &Nodes, node: &str, session: Uuid, commands: &[u8]) -> Result<()> {
        let node = InstanceId::new(node).map_err(|_| unknown_session())?;
        let (control, membership) = match (&nodes.control, &nodes.membership) {
            (Some(control), Some(membership)) => (control, membership),
            _ if nodes.decisions.is_some() => return Err(bus_needed()),
            // There is no other node.
            _ => return Err(unknown_session()),
        };
        if !self.knows(membership, &node).await? {
            return Err(unknown_session());
        }
        let payload = [session.hyphenated().to_string().as_bytes(), b"\n", commands].concat();
        if self.state().bytes.take_many(payload.len() as u32) != Verdict::Within {
            let message = "more commands are to be passed on to other nodes than the bus is given";
            return Err(unavailable(message).with_limit(u64::from(BYTES_PER_SECOND)));
        }
        match control.publish(vec![Message { channel: channel(&node)?, payload: payload.into() }]) {
            0 => Err(unavailable("the bus between the nodes takes nothing")),
            _ => Ok(()),
        }
    }

    /// Whether a node stood in the registry lately. Who asks for one that is known waits for nobody's question.
    async fn knows(&self, membership: &Membership, node: &InstanceId) -> Result<bool> {
        {
            let mut state = self.state();
            state.seen.retain(|_, seen| seen.elapsed() < KNOWN_FOR);
            if state.seen.contains_key(node) {
                return Ok(true);
            }
            if state.questions.take() != Verdict::Within {
                return Err(unavailable("too many ask for nodes that are not known"));
            }
        }
        let now = Instant::now();
        let listed = membership.instances().await?.into_iter();
        let mut state = self.state();
        state.seen.extend(listed.map(|listed| (listed.instance.owner.id, now)));
        Ok(state.seen.contains_key(node))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands what other nodes send to the sessions here, for ever.
pub(crate) async fn listen(app: Arc<App>) {
    let nodes = &app.operations.nodes;
    let Some(control) = &nodes.control else { return };
    loop {
        if let Err(error) = hear(&app, &**control).await {
            tracing::warn!(%error, "commands that reach other nodes do not come here");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn hear(app: &App, control: &dyn Bus) -> Result<()> {
    let target = Target::Channel(channel(&app.operations.nodes.own.id)?);
    let mut deliveries = control.subscribe(target).await?;
    while let Some(delivery) = deliveries.next().await {
        if let Delivery::Message(message) = delivery {
            app.metrics.emulation_received(receive(app, &message.payload));
        }
    }
    Ok(())
}

/// Whether a session took it. Anybody who may publish on the bus may have sent it: it is no more than a request.
fn receive(app: &App, payload: &Bytes) -> bool {
    let Some(end) = memchr::memchr(b'\n', payload) else { return false };
    let session = std::str::from_utf8(&payload[..end]).ok().and_then(|id| id.parse::<Uuid>().ok());
    let commands = &payload[end + 1..];
    match session {
        // Copied: what waits for a session is counted by its own length.
        Some(session) if super::check(app, commands).is_ok() => {
            app.sessions.take(session, Bytes::copy_from_slice(commands)) == Outcome::Taken
        }
        _ => false,
    }
}

/// Where a node hears what is for its sessions.
fn channel(node: &InstanceId) -> Result<Channel> {
    Channel::new(&format!("dualstream:node:{node}"))
}

fn bus_needed() -> Error {
    let message = "the session is on another node, and without Redis nothing is passed on to it";
    Error::new(ErrorKind::Unavailable, "bus_needed", message)
        .with_mend("set bus.redis (--redis) on all nodes, or let the balancer keep each client on one node")
}

fn unavailable(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, "forwarding_unavailable", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream_core::memory::registry::MemoryRegistry;
    use dualstream_core::registry::{About, Beat, Instance, Owner, Registry, Settings};
    use dualstream_core::testing::{ManualClock, SeededEntropy};

    fn instance(name: &str) -> InstanceId {
        InstanceId::new(name).unwrap()
    }

    /// A registry, and a member that does not stand in it.
    fn member() -> (Arc<MemoryRegistry>, Membership) {
        let clock = Arc::new(ManualClock::new(7));
        let registry = Arc::new(MemoryRegistry::new(clock.clone()));
        let about = About { id: instance("a"), version: "1".into(), address: "x".into() };
        let entropy = Arc::new(SeededEntropy::new(1));
        let (membership, _) = Membership::new(Settings::default(), registry.clone(), about, clock, entropy);
        (registry, membership)
    }

    #[tokio::test(start_paused = true)]
    async fn the_registry_is_asked_for_what_is_not_known_and_not_too_often() {
        let (registry, membership) = member();
        let owner = Owner { id: instance("b"), incarnation: 1 };
        let (version, address) = ("1".into(), "y".into());
        let other = Instance { owner, version, address, started_ms: 7, connections: 0 };
        registry.heartbeat(other, Beat::Begin).await.unwrap();

        let known = Forwarding::default();
        for _ in 0..3 * QUESTIONS {
            assert!(known.knows(&membership, &instance("b")).await.unwrap(), "asked for once");
        }
        for _ in 1..QUESTIONS {
            assert!(!known.knows(&membership, &instance("c")).await.unwrap());
        }
        let refused = known.knows(&membership, &instance("c")).await.unwrap_err();
        assert_eq!(refused.code(), "forwarding_unavailable");
        assert!(known.knows(&membership, &instance("b")).await.unwrap());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!known.knows(&membership, &instance("c")).await.unwrap());
        // Only what stood there lately is taken to be there still.
        tokio::time::advance(KNOWN_FOR).await;
        let (_, empty) = member();
        assert!(!known.knows(&empty, &instance("b")).await.unwrap());
    }
}
