//! One connection of a client, and the one it stands for.

use super::pipe::{Pipe, Step};
use super::runner::State;
use anyhow::Result;
use rustix::net::sockopt::set_socket_linger;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A target on the same machine answers at once, or its queue of connections is full.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// Both sides, and what is on its way between them.
pub(super) struct Connection {
    client: TcpStream,
    /// None while nothing of the client can get there.
    server: Option<TcpStream>,
    requests: Pipe,
    responses: Pipe,
    /// Nothing of it passes any more, and nothing is looked at.
    is_stranded: bool,
}

/// A side that waits for something.
pub(super) struct Interest<'a> {
    pub(super) socket: &'a TcpStream,
    pub(super) to_read: bool,
    pub(super) to_write: bool,
}

impl Connection {
    pub(super) fn of(client: TcpStream) -> Result<Connection> {
        client.set_nonblocking(true)?;
        client.set_nodelay(true)?;
        let (requests, responses) = (Pipe::default(), Pipe::default());
        Ok(Connection { client, server: None, requests, responses, is_stranded: false })
    }

    /// Moves what can be moved; false when the connection is over, and reset if need be.
    pub(super) fn step(&mut self, state: &mut State, now: Instant) -> bool {
        self.is_stranded |= state.strand_all;
        if self.is_stranded && !state.reset_all {
            return true;
        }
        let has_hole = self.requests.has_hole && state.requests.passes()
            || self.responses.has_hole && state.responses.passes();
        if has_hole || state.reset_all {
            return self.reset(state);
        }
        self.read(state, now);
        if self.server.is_none() && state.requests.passes() {
            match connect(state.target) {
                Ok(server) => self.server = Some(server),
                Err(_) => {
                    state.counts.unanswered += 1;
                    return self.reset(state);
                }
            }
        }
        if self.write(state, now) == Step::Reset {
            return self.reset(state);
        }
        !(self.requests.is_over() && self.responses.is_over())
    }

    fn read(&mut self, state: &mut State, now: Instant) {
        let counts = &mut state.counts;
        self.requests.drop_if(state.requests, &mut counts.requests);
        self.responses.drop_if(state.responses, &mut counts.responses);
        self.requests.read(&self.client, state.requests, now, &mut counts.requests);
        if let Some(server) = &self.server {
            self.responses.read(server, state.responses, now, &mut counts.responses);
        }
    }

    fn write(&mut self, state: &mut State, now: Instant) -> Step {
        let Some(server) = &self.server else { return Step::GoOn };
        let counts = &mut state.counts;
        // Who has failed takes nothing more, and the other side hears of it when that can get through.
        if !self.responses.is_broken()
            && self.requests.write(server, &mut state.requests, now, &mut counts.requests) == Step::Reset
        {
            return Step::Reset;
        }
        if !self.requests.is_broken()
            && self.responses.write(&self.client, &mut state.responses, now, &mut counts.responses)
                == Step::Reset
        {
            return Step::Reset;
        }
        let told = |broken: bool, flow: super::Flow| broken && flow.passes();
        if told(self.requests.is_broken(), state.requests)
            || told(self.responses.is_broken(), state.responses)
        {
            return Step::Reset;
        }
        Step::GoOn
    }

    /// What it waits for on its sides; a side that waits for nothing is left alone, whatever happens to it.
    pub(super) fn interests(&self, state: &State, now: Instant) -> impl Iterator<Item = Interest<'_>> {
        let requests_stuck = !self.responses.is_broken() && self.requests.is_stuck(state.requests, now);
        let responses_stuck = !self.requests.is_broken() && self.responses.is_stuck(state.responses, now);
        let client = Interest {
            socket: &self.client,
            to_read: self.requests.wants_to_read(state.requests),
            to_write: responses_stuck,
        };
        let server = self.server.as_ref().map(|socket| Interest {
            socket,
            to_read: self.responses.wants_to_read(state.responses),
            to_write: requests_stuck,
        });
        let sides = [Some(client), server].into_iter().flatten();
        sides.filter(|interest| !self.is_stranded && (interest.to_read || interest.to_write))
    }

    /// When it must be looked at again though nothing happens.
    pub(super) fn due(&self, state: &State, now: Instant) -> Option<Instant> {
        let due = [self.requests.due(state.requests), self.responses.due(state.responses)];
        due.into_iter().flatten().filter(|due| *due > now && !self.is_stranded).min()
    }

    /// RST to both sides: that is what closing does without lingering (socket(7)).
    fn reset(&mut self, state: &mut State) -> bool {
        state.counts.resets += 1;
        for socket in [Some(&self.client), self.server.as_ref()].into_iter().flatten() {
            // It fails only on a socket that is closed already.
            let _ = set_socket_linger(socket, Some(Duration::ZERO));
        }
        false
    }
}

fn connect(target: SocketAddr) -> Result<TcpStream> {
    let server = TcpStream::connect_timeout(&target, CONNECT_MAX)?;
    server.set_nonblocking(true)?;
    server.set_nodelay(true)?;
    Ok(server)
}
