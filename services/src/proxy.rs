//! A TCP proxy with faults, between a program under test and a server.
//!
//! ```text
//!            ┌──────── requests: Flow ────────▶
//!  client ───┤ Proxy::address     Proxy::target ├─── server
//!            ◀──────── responses: Flow ────────┘
//! ```
//! It listens on a free port of loopback and forwards to an address that can be changed. Each direction is open, slow,
//! silent or about to break; connections can be reset (RST, not FIN) and new ones refused. A change has taken effect when
//! the call returns: not a byte gets through a direction that was closed.
//!
//! A silent direction keeps its connections open and says nothing to either side, whatever the other does, as a network
//! that swallows packets would. It can be silent in two ways: what is *held* goes on when the direction opens, as
//! packets sent again after a short partition; what is *dropped* is gone, and a connection that lost bytes is reset when
//! the direction opens, for nobody could make sense of the rest.
//!
//! It does not look into what passes, and knows nothing of TLS or of any protocol.

mod connection;
mod counts;
mod flow;
mod pipe;
mod runner;

pub use counts::{Counts, Passed};
pub use flow::{Flow, Then};

use crate::ports;
use anyhow::{Context, Result, bail};
use runner::{Runner, Shared, State};
use rustix::net::{AddressFamily, SocketType};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Ports may be taken by another program between the look and the bind.
const TRIES: u32 = 5;

/// A running proxy; it ends with the value, and its connections with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one that forwards to `target`, which need not serve yet.
    pub fn start(target: SocketAddr) -> Result<Proxy> {
        let listener = listener()?;
        let address = listener.local_addr()?;
        let (wake, woken) = UnixStream::pair().context("cannot make a pair of sockets")?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let shared = Arc::new(Shared::new(target));
        let runner = Runner::new(listener, woken, shared.clone());
        let thread = std::thread::Builder::new().name("fault proxy".into()).spawn(move || runner.run())?;
        Ok(Proxy { address, shared, wake, thread: Some(thread) })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go there from now on; those that are open stay where they are.
    pub fn set_target(&self, target: SocketAddr) {
        self.change(|state| state.target = target);
    }

    /// How bytes pass from clients to the server.
    pub fn requests(&self, flow: Flow) {
        self.change(|state| state.requests = flow);
    }

    /// How bytes pass from the server to clients. `Held` or `Dropped` here loses acks: what is asked is done, and nobody
    /// hears of it.
    pub fn responses(&self, flow: Flow) {
        self.change(|state| state.responses = flow);
    }

    /// How bytes pass in both directions.
    pub fn both(&self, flow: Flow) {
        self.change(|state| (state.requests, state.responses) = (flow, flow));
    }

    /// From now on nobody listens: who connects is refused at once. The port stays ours.
    pub fn refuse(&self) {
        self.change(|state| state.is_refusing = true);
    }

    /// Resets all connections on both sides; how many those were.
    pub fn reset(&self) -> usize {
        let before = self.counts().resets;
        self.change(|state| state.reset_all = true);
        usize::try_from(self.counts().resets - before).expect("connections are counted in memory")
    }

    /// Those connections that are open now fall silent for good, both ways, until they are [`reset`](Proxy::reset); new
    /// ones pass. So would a firewall do that has forgotten them: who waits for something hears nothing, and who notices
    /// and connects again finds all well. How many those were.
    pub fn strand(&self) -> u64 {
        self.change(|state| state.strand_all = true);
        self.counts().open
    }

    /// Ends all faults: both directions are open, new connections are taken. Those that lost bytes are reset.
    pub fn heal(&self) {
        self.change(|state| {
            (state.requests, state.responses) = (Flow::Open, Flow::Open);
            state.is_refusing = false;
        });
    }

    /// What passed so far.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Waits until it has seen what is wanted; fails after `max`, with what it saw.
    pub fn until(&self, max: Duration, what: &str, is_seen: impl Fn(&Counts) -> bool) -> Result<()> {
        let deadline = Instant::now() + max;
        let mut state = self.state();
        while !is_seen(&state.counts) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.is_over {
                bail!("the proxy saw {what} not within {max:?}: {:?}", state.counts);
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Changes something, and waits until it has taken effect.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        state.asked += 1;
        let asked = state.asked;
        self.rouse();
        let waited = self.shared.changed.wait_while(state, |state| state.applied < asked && !state.is_over);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rouse(&self) {
        // When it would block, the runner has been woken and has not looked yet.
        let _ = (&self.wake).write(&[1]);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state().is_closing = true;
        self.rouse();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listener whose port is bound by number: such a one keeps it while it does not listen.
fn listener() -> Result<TcpListener> {
    let bind = || -> Result<TcpListener> {
        let address = ports::free(1)?[0];
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        rustix::net::bind(&socket, &address)?;
        let listener = TcpListener::from(socket);
        runner::listen(&listener)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let mut bound = bind();
    for _ in 1..TRIES {
        bound = bound.or_else(|_| bind());
    }
    bound.context("cannot listen on a port of loopback")
}
