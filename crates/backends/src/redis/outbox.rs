//! What waits to be published: bounded in bytes, and what is new drives out what is old.

use super::counters::Counters;
use bytes::Bytes;
use dualstream_core::bus::Message;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot, watch};

/// What a waiting message costs beside its name and payload.
const MESSAGE_OVERHEAD: usize = 64;

/// Something to publish.
pub(super) enum Outgoing {
    /// A message of somebody here.
    Message(Message),
    /// A probe: the name on Redis, and who is told whether Redis took it.
    Probe(Arc<str>, Bytes, oneshot::Sender<bool>),
}

/// The queue. Putting something in never waits.
pub(super) struct Outbox {
    bytes_max: usize,
    counters: Arc<Counters>,
    state: Mutex<State>,
    /// Something waits, or nothing will any more: for the one that publishes.
    changed: Notify,
    /// The gate of the state, for those who wait for it.
    gate: watch::Sender<Gate>,
}

struct State {
    items: VecDeque<Outgoing>,
    bytes: usize,
    gate: Gate,
}

/// Whether something is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Redis is away: what is new now would be old when it is back.
    Shut,
    /// For ever: what waits is published, and that is all.
    Closed,
}

impl Outbox {
    pub fn new(bytes_max: usize, counters: Arc<Counters>) -> Outbox {
        let state = State { items: VecDeque::new(), bytes: 0, gate: Gate::Open };
        let gate = watch::Sender::new(Gate::Open);
        Outbox { bytes_max, counters, state: Mutex::new(state), changed: Notify::new(), gate }
    }

    /// How many of them were taken. What they drive out is dropped and counted.
    pub fn push(&self, messages: Vec<Message>) -> usize {
        let mut state = self.state();
        if state.gate != Gate::Open {
            self.counters.dropped.fetch_add(messages.len() as u64, Relaxed);
            return 0;
        }
        let count = messages.len();
        for message in messages {
            self.put(&mut state, Outgoing::Message(message));
        }
        self.keep_bounds(&mut state);
        drop(state);
        self.changed.notify_one();
        count
    }

    /// Publishes a probe behind what waits. Whoever waits for it is told nothing when it is dropped.
    pub fn probe(&self, name: Arc<str>, payload: Bytes, sent: oneshot::Sender<bool>) {
        let mut state = self.state();
        if state.gate == Gate::Open {
            self.put(&mut state, Outgoing::Probe(name, payload, sent));
            drop(state);
            self.changed.notify_one();
        }
    }

    /// The oldest, as many as fit; at least one if there is one.
    pub fn take(&self, count_max: usize, bytes_max: usize) -> Vec<Outgoing> {
        let mut state = self.state();
        let before = state.bytes;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = state.items.front() {
            bytes += next.weight();
            if taken.len() == count_max || (!taken.is_empty() && bytes > bytes_max) {
                break;
            }
            taken.extend(state.pop());
        }
        self.counters.waiting_bytes.fetch_sub(before - state.bytes, Relaxed);
        taken
    }

    /// Resolves once something waits: true; or once it is closed and empty: false. Cancel-safe.
    pub async fn wait(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            match self.state() {
                state if !state.items.is_empty() => return true,
                state if state.gate == Gate::Closed => return false,
                _ => {}
            }
            changed.await;
        }
    }

    /// Redis is away: drops what waits, and all that comes until it is opened.
    pub fn shut(&self) {
        let mut state = self.state();
        self.turn(&mut state, Gate::Open, Gate::Shut);
        let dropped = std::mem::take(&mut state.items);
        self.counters.waiting_bytes.fetch_sub(std::mem::take(&mut state.bytes), Relaxed);
        drop(state);
        self.count_dropped(dropped);
    }

    /// Redis is back.
    pub fn open(&self) {
        self.turn(&mut self.state(), Gate::Shut, Gate::Open);
    }

    /// Takes nothing any more.
    pub fn close(&self) {
        let mut state = self.state();
        let before = state.gate;
        self.turn(&mut state, before, Gate::Closed);
        drop(state);
        self.changed.notify_one();
    }

    /// Resolves once it takes something. Cancel-safe.
    pub async fn opened(&self) {
        // The sender is here, and so is whoever waits.
        let _ = self.gate.subscribe().wait_for(|gate| *gate == Gate::Open).await;
    }

    /// Resolves once it takes nothing any more, for ever. Cancel-safe.
    pub async fn closed(&self) {
        // As above.
        let _ = self.gate.subscribe().wait_for(|gate| *gate == Gate::Closed).await;
    }

    /// Whether it takes nothing any more, for ever.
    pub fn is_closed(&self) -> bool {
        self.state().gate == Gate::Closed
    }

    fn put(&self, state: &mut State, item: Outgoing) {
        let weight = item.weight();
        self.counters.waiting_bytes.fetch_add(weight, Relaxed);
        state.bytes += weight;
        state.items.push_back(item);
    }

    fn turn(&self, state: &mut State, from: Gate, to: Gate) {
        if state.gate == from {
            state.gate = to;
            self.counters.away.fetch_add(usize::from(to == Gate::Shut), Relaxed);
            self.counters.away.fetch_sub(usize::from(from == Gate::Shut), Relaxed);
            self.gate.send_replace(to);
        }
    }

    fn keep_bounds(&self, state: &mut State) {
        let (mut dropped, before) = (VecDeque::new(), state.bytes);
        while state.bytes > self.bytes_max && state.items.len() > 1 {
            dropped.extend(state.pop());
        }
        self.counters.waiting_bytes.fetch_sub(before - state.bytes, Relaxed);
        self.count_dropped(dropped);
    }

    fn count_dropped(&self, dropped: VecDeque<Outgoing>) {
        let messages = dropped.iter().filter(|item| matches!(item, Outgoing::Message(_))).count();
        self.counters.dropped.fetch_add(messages as u64, Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop(&mut self) -> Option<Outgoing> {
        let item = self.items.pop_front()?;
        self.bytes -= item.weight();
        Some(item)
    }
}

impl Outgoing {
    fn weight(&self) -> usize {
        let (name, payload) = match self {
            Outgoing::Message(message) => (message.channel.as_str().len(), message.payload.len()),
            Outgoing::Probe(name, payload, _) => (name.len(), payload.len()),
        };
        name + payload + MESSAGE_OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream_core::channel::Channel;
    use futures::FutureExt;

    fn messages(payloads: &[&'static str]) -> Vec<Message> {
        let channel = Channel::new("a:b").unwrap();
        payloads.iter().map(|p| Message { channel: channel.clone(), payload: p.as_bytes().into() }).collect()
    }

    fn payloads(items: Vec<Outgoing>) -> Vec<Bytes> {
        let payload = |item| match item {
            Outgoing::Message(message) => message.payload,
            Outgoing::Probe(_, payload, _) => payload,
        };
        items.into_iter().map(payload).collect()
    }

    #[test]
    fn what_is_new_drives_out_what_is_old() {
        let counters = Arc::new(Counters::default());
        let outbox = Outbox::new(2 * (MESSAGE_OVERHEAD + 4), counters.clone());
        assert_eq!(outbox.push(messages(&["1", "2", "3"])), 3);
        let large: &'static str = "a message larger than all that may wait: it is taken, and drives out all others, \
                                   for one always fits into an outbox";
        assert_eq!(payloads(outbox.take(1, 1)), ["2"]);
        assert_eq!(outbox.push(messages(&["4", large])), 2);
        assert_eq!(payloads(outbox.take(10, 1)), [large]);
        assert_eq!((counters.dropped.load(Relaxed), counters.waiting_bytes.load(Relaxed)), (3, 0));
    }

    #[test]
    fn nothing_waits_while_redis_is_away() {
        let counters = Arc::new(Counters::default());
        let outbox = Outbox::new(1 << 20, counters.clone());
        outbox.push(messages(&["1"]));
        let (sent, mut told) = oneshot::channel();
        outbox.probe("probe".into(), "2".into(), sent);
        outbox.shut();
        assert!(told.try_recv().is_err(), "a probe that was dropped says nothing");
        assert_eq!(outbox.push(messages(&["3", "4"])), 0);
        assert_eq!(counters.dropped.load(Relaxed), 3);
        assert_eq!(outbox.wait().now_or_never(), None);
        outbox.open();
        assert_eq!(outbox.push(messages(&["5"])), 1);
        outbox.close();
        assert_eq!(outbox.push(messages(&["6"])), 0);
        assert_eq!(outbox.wait().now_or_never(), Some(true));
        assert_eq!(payloads(outbox.take(9, 9)), ["5"]);
        assert_eq!(outbox.wait().now_or_never(), Some(false));
    }
}
