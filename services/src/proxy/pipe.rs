//! One direction of one connection: what was read and is not written yet.

use super::counts::Passed;
use super::flow::{Flow, Then};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Nothing is read while so much waits.
const QUEUED_BYTES_MAX: usize = 1 << 20;
const CHUNK_BYTES: usize = 16 << 10;
/// What is slow comes in so many pieces.
const SLICES_PER_S: usize = 20;

/// Bytes on their way.
#[derive(Default)]
pub(super) struct Pipe {
    /// Each with the time it was read.
    queue: VecDeque<(Instant, Vec<u8>)>,
    queued_bytes: usize,
    /// A slow direction takes nothing more before.
    free_at: Option<Instant>,
    /// How the sender ended.
    end: Option<End>,
    /// The receiver knows.
    is_told: bool,
    /// Bytes of it were thrown away.
    pub(super) has_hole: bool,
}

/// How one side of a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// FIN: no more bytes come.
    Fin,
    /// RST, or any failure.
    Reset,
}

/// What a step of a pipe asks of its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    GoOn,
    Reset,
}

impl Pipe {
    pub(super) fn wants_to_read(&self, flow: Flow) -> bool {
        self.end.is_none() && (flow == Flow::Dropped || self.queued_bytes < QUEUED_BYTES_MAX)
    }

    /// Both sides know that no more comes.
    pub(super) fn is_over(&self) -> bool {
        self.is_told
    }

    /// The sender failed.
    pub(super) fn is_broken(&self) -> bool {
        self.end == Some(End::Reset)
    }

    /// When something can be written next, if that is a matter of time alone.
    pub(super) fn due(&self, flow: Flow) -> Option<Instant> {
        let (read, _) = self.queue.front()?;
        match flow {
            Flow::Delayed(delay) => Some(*read + delay),
            Flow::Slow { .. } => Some(self.free_at.unwrap_or(*read).max(*read)),
            Flow::Held | Flow::Dropped => None,
            Flow::Open | Flow::CutAfter { .. } => Some(*read),
        }
    }

    /// Reads what there is.
    pub(super) fn read(&mut self, mut from: &TcpStream, flow: Flow, now: Instant, counts: &mut Passed) {
        let mut chunk = [0; CHUNK_BYTES];
        while self.wants_to_read(flow) {
            match from.read(&mut chunk) {
                Ok(0) => self.end = Some(End::Fin),
                Ok(n) => {
                    counts.taken += n as u64;
                    self.queued_bytes += n;
                    self.queue.push_back((now, chunk[..n].to_vec()));
                    self.drop_if(flow, counts);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.end = Some(End::Reset),
            }
        }
    }

    /// Throws away what waits, where nothing may pass.
    pub(super) fn drop_if(&mut self, flow: Flow, counts: &mut Passed) {
        if flow == Flow::Dropped && !self.queue.is_empty() {
            counts.dropped += self.queued_bytes as u64;
            self.queue.clear();
            (self.queued_bytes, self.has_hole) = (0, true);
        }
    }

    /// Writes what is due, and the end when everything is written; a flow that is cut changes.
    pub(super) fn write(
        &mut self,
        mut to: &TcpStream,
        flow: &mut Flow,
        now: Instant,
        counts: &mut Passed,
    ) -> Step {
        while self.due(*flow).is_some_and(|due| due <= now) {
            let Some((_, bytes)) = self.queue.front_mut() else { break };
            let may = match *flow {
                Flow::CutAfter { bytes: left, .. } => usize::try_from(left).unwrap_or(usize::MAX),
                Flow::Slow { bytes_per_s } => bytes_per_s as usize / SLICES_PER_S + 1,
                _ => usize::MAX,
            };
            if may == 0 {
                return cut(flow);
            }
            match to.write(&bytes[..bytes.len().min(may)]) {
                Ok(n) => {
                    counts.passed += n as u64;
                    self.queued_bytes -= n;
                    bytes.drain(..n);
                    if bytes.is_empty() {
                        self.queue.pop_front();
                    }
                    match flow {
                        Flow::CutAfter { bytes: left, .. } => *left -= n as u64,
                        Flow::Slow { bytes_per_s } => self.free_at = Some(now + taking(n, *bytes_per_s)),
                        _ => {}
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::GoOn,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The other pipe meets the same failure when it reads, unless the receiver has ended already.
                Err(_) => return Step::Reset,
            }
        }
        self.tell_end(to, *flow)
    }

    /// Whether something is due that the receiver did not take.
    pub(super) fn is_stuck(&self, flow: Flow, now: Instant) -> bool {
        self.due(flow).is_some_and(|due| due <= now)
    }

    fn tell_end(&mut self, to: &TcpStream, flow: Flow) -> Step {
        let Some(end) = self.end.filter(|_| self.queue.is_empty() && !self.is_told && flow.passes()) else {
            return Step::GoOn;
        };
        self.is_told = true;
        match end {
            End::Fin if to.shutdown(Shutdown::Write).is_ok() => Step::GoOn,
            _ => Step::Reset,
        }
    }
}

/// How long so many bytes take.
fn taking(bytes: usize, bytes_per_s: u32) -> Duration {
    Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_s.max(1)))
}

/// The bytes that may pass have passed.
fn cut(flow: &mut Flow) -> Step {
    match flow {
        Flow::CutAfter { then: Then::Reset, .. } => {
            *flow = Flow::Open;
            Step::Reset
        }
        _ => {
            *flow = Flow::Held;
            Step::GoOn
        }
    }
}
