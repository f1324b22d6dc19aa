//! The thread of a proxy: one loop over all its sockets.

use super::connection::Connection;
use super::counts::Counts;
use super::flow::Flow;
use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::Shutdown;
use rustix::net::sockopt::set_socket_reuseaddr;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Connections that may wait to be accepted.
const WAITING_MAX: i32 = 1024;
/// Connections beyond are closed.
const CONNECTIONS_MAX: usize = 4096;

/// What a proxy and its thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Told after every round of the loop.
    pub(super) changed: Condvar,
}

/// What is wanted, and what was seen.
#[derive(Debug)]
pub(super) struct State {
    pub(super) target: SocketAddr,
    pub(super) requests: Flow,
    pub(super) responses: Flow,
    pub(super) is_refusing: bool,
    pub(super) reset_all: bool,
    pub(super) strand_all: bool,
    pub(super) is_closing: bool,
    pub(super) is_over: bool,
    pub(super) counts: Counts,
    /// Changes asked for, and of those, done.
    pub(super) asked: u64,
    pub(super) applied: u64,
}

impl Shared {
    pub(super) fn new(target: SocketAddr) -> Shared {
        let state = State {
            target,
            requests: Flow::Open,
            responses: Flow::Open,
            is_refusing: false,
            reset_all: false,
            strand_all: false,
            is_closing: false,
            is_over: false,
            counts: Counts::default(),
            asked: 0,
            applied: 0,
        };
        Shared { state: Mutex::new(state), changed: Condvar::new() }
    }
}

/// The loop's own.
pub(super) struct Runner {
    listener: TcpListener,
    is_listening: bool,
    woken: UnixStream,
    connections: Vec<Connection>,
    shared: Arc<Shared>,
}

impl Runner {
    pub(super) fn new(listener: TcpListener, woken: UnixStream, shared: Arc<Shared>) -> Runner {
        Runner { listener, is_listening: true, woken, connections: Vec::new(), shared }
    }

    pub(super) fn run(mut self) {
        // What fails here is a socket of ours that cannot be listened on or polled: callers see that it is over.
        let _ = self.rounds();
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_over = true;
        self.shared.changed.notify_all();
    }

    fn rounds(&mut self) -> Result<()> {
        let shared = self.shared.clone();
        loop {
            let now = Instant::now();
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.is_closing {
                return Ok(());
            }
            self.listen(!state.is_refusing)?;
            self.accept(&mut state);
            self.connections.retain_mut(|connection| connection.step(&mut state, now));
            state.counts.open = self.connections.len() as u64;
            (state.reset_all, state.strand_all, state.applied) = (false, false, state.asked);
            shared.changed.notify_all();
            self.wait(state, now)?;
        }
    }

    fn listen(&mut self, wanted: bool) -> Result<()> {
        match (self.is_listening, wanted) {
            (true, false) => refuse(&self.listener)?,
            (false, true) => listen(&self.listener)?,
            _ => {}
        }
        self.is_listening = wanted;
        Ok(())
    }

    fn accept(&mut self, state: &mut State) {
        // One that was given up before it was taken is no failure of the proxy.
        while self.is_listening
            && let Ok((client, _)) = self.listener.accept()
        {
            state.counts.accepted += 1;
            if self.connections.len() < CONNECTIONS_MAX
                && let Ok(connection) = Connection::of(client)
            {
                self.connections.push(connection);
            }
        }
    }

    /// Waits until something happens, without the lock.
    fn wait(&mut self, state: std::sync::MutexGuard<'_, State>, now: Instant) -> Result<()> {
        let mut sockets = vec![PollFd::new(&self.woken, PollFlags::IN)];
        if self.is_listening {
            sockets.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        for interest in self.connections.iter().flat_map(|connection| connection.interests(&state, now)) {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, interest.to_read);
            flags.set(PollFlags::OUT, interest.to_write);
            sockets.push(PollFd::new(interest.socket, flags));
        }
        let due = self.connections.iter().filter_map(|connection| connection.due(&state, now)).min();
        drop(state);
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(Timespec::try_from).transpose()?;
        match poll(&mut sockets, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 64];
        while matches!((&self.woken).read(&mut bytes), Ok(1..)) {}
        Ok(())
    }
}

/// Listens on a socket that is bound. Connections it took before are on the same port, which is no conflict for sockets
/// that allow reuse; they have that from their listener.
pub(super) fn listen(listener: &TcpListener) -> Result<()> {
    set_socket_reuseaddr(listener, true)?;
    Ok(rustix::net::listen(listener, WAITING_MAX)?)
}

/// Leaves the state of listening and keeps the port: who connects is refused. Without reuse nobody else can bind it.
fn refuse(listener: &TcpListener) -> Result<()> {
    rustix::net::shutdown(listener, Shutdown::Read)?;
    Ok(set_socket_reuseaddr(listener, false)?)
}
