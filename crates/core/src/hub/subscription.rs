//! One subscription: cursors in the log, and for what is not in the log an inbox.
//!
//! A live subscription of a namespace that conflates puts what it reads of the log into its inbox too, before it hands
//! anything out: there the later item of a key replaces the earlier, whichever way each of them came.

use super::allowance::Allowance;
use super::entry::Entry;
use super::feed;
use super::inbox::{Inbox, Incoming, Origin, Received};
use super::reader::{Interest, Out, Place, Reader, Step};
use super::recent::Recent;
use super::request::{Item, Mode, OnUnrecoverable};
use super::shared::Shared;
use super::tap::Tap;
use crate::Result;
use crate::channel::Target;
use crate::namespace::Namespace;
use crate::position::Resume;
use crate::queue::Queued;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a new subscription waits for the bus before it goes on without.
const BUS_WAIT_MAX: Duration = Duration::from_secs(1);
/// Pages of the log that go into an inbox that conflates before anything is handed out.
const GATHERED_PAGES_MAX: usize = 64;

/// A subscription. It owns no queue of what is in the log: whoever is slow is only a cursor that is behind. Call
/// [`next`](Subscription::next) again at least with every ping, also when nothing came, so that the cursor of a quiet
/// channel keeps up. Dropping it leaves.
pub struct Subscription {
    shared: Arc<Shared>,
    id: u64,
    waker: Arc<Notify>,
    mode: Mode,
    targets: Vec<Target>,
    /// One per topic, by topic name.
    readers: Vec<Reader>,
    taps: Vec<Arc<Tap>>,
    inbox: Arc<Inbox>,
    /// What it reads of the log goes through the inbox, to be conflated with what came from the bus.
    gathers: bool,
    /// Pages that went there since something was handed out.
    gathered: usize,
    /// Positions that the bus announced in topics without a reader.
    recent: Recent,
    /// Whose turn it is: a reader, or after them the inbox.
    turn: usize,
    /// What was handed out last was all there was.
    is_drained: bool,
    ended: bool,
}

impl Subscription {
    pub(super) fn new(
        shared: &Arc<Shared>,
        targets: Vec<Target>,
        mode: Mode,
        allowance: Arc<Allowance>,
    ) -> Result<Subscription> {
        let waker = Arc::new(Notify::new());
        let inbox = Inbox::new(waker.clone(), allowance, shared.counters.clone());
        let id = shared.enter(&inbox, &targets)?;
        let (shared, readers, taps, recent) = (shared.clone(), Vec::new(), Vec::new(), Recent::default());
        Ok(Subscription {
            shared,
            id,
            waker,
            mode,
            targets,
            readers,
            taps,
            inbox,
            gathers: false,
            gathered: 0,
            recent,
            turn: 0,
            is_drained: false,
            ended: false,
        })
    }

    pub(super) fn add_reader(&mut self, interest: Interest, place: Place, policy: OnUnrecoverable) {
        let reader = Reader::new(&self.shared, self.id, &self.waker, interest, place, policy);
        self.readers.push(reader);
    }

    pub(super) fn add_tap(&mut self, place: usize, namespace: &Arc<Namespace>) {
        self.gathers |= self.mode == Mode::Live && namespace.conflate_key().is_some();
        let tap = self.shared.tap(&self.targets[place], namespace);
        tap.join(self.id, &self.inbox, place);
        self.taps.push(tap);
    }

    /// Waits until the bus delivers `target`, but not for long: the bus is a hint.
    pub(super) async fn bus_ready(&self, targets: &[Target]) {
        let ready = async {
            let is_awaited = |tap: &Arc<Tap>| targets.contains(&tap.target) && !tap.is_ready();
            while !self.shared.is_closed() && self.taps.iter().any(is_awaited) {
                self.waker.notified().await;
            }
        };
        // Late is no error: messages until then are lost, as on any bus.
        let _ = tokio::time::timeout(BUS_WAIT_MAX, ready).await;
    }

    /// Waits until there is at least one item and returns what there is, about `bytes_max` at most and at least one.
    /// Empty means ended: the hub was closed, or something was unrecoverable and the subscription was made to end
    /// then. Cancel-safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self, bytes_max: usize) -> Vec<Item> {
        if std::mem::take(&mut self.is_drained) {
            // Whatever came since then has woken it: to ask before would find nothing.
            self.waker.notified().await;
        }
        loop {
            if self.ended || self.shared.is_closed() {
                return Vec::new();
            }
            match self.collect(bytes_max).await {
                Collected::Items(items) => return self.counted(items),
                Collected::Again => feed::yield_now().await,
                Collected::Nothing(None) => self.waker.notified().await,
                Collected::Nothing(Some(at)) => {
                    let _ = tokio::time::timeout_at(at, self.waker.notified()).await;
                }
            }
        }
    }

    /// What there is already, as [`next`](Subscription::next) returns it, without waiting for more to come: empty when
    /// the subscription is level with its channels, has ended, or cannot read on just now. Cancel-safe.
    pub async fn ready(&mut self, bytes_max: usize) -> Vec<Item> {
        while !(self.ended || self.shared.is_closed()) {
            match self.collect(bytes_max).await {
                Collected::Items(items) => return self.counted(items),
                Collected::Again => feed::yield_now().await,
                Collected::Nothing(_) => break,
            }
        }
        Vec::new()
    }

    fn counted(&self, items: Vec<Item>) -> Vec<Item> {
        self.shared.counters.delivered.fetch_add(items.len() as u64, Relaxed);
        items
    }

    /// Resume token of where the subscription is now; it also moves past what does not match. Empty if nothing it
    /// subscribed to is in the log.
    pub fn resume(&self) -> Arc<str> {
        match self.readers.as_slice() {
            [reader] => reader.token(),
            readers => join(&readers.iter().map(Reader::token).collect::<Vec<_>>()),
        }
    }

    /// Asks everybody once, in turn.
    async fn collect(&mut self, bytes_max: usize) -> Collected {
        let (count, mut again, mut pause) = (self.readers.len() + 1, false, None::<Instant>);
        // More of the log is likely to be there.
        let mut more = false;
        if self.gathers {
            self.turn = 0;
        }
        for turn in 0..count {
            let at = (self.turn + turn) % count;
            let items = match at == self.readers.len() {
                true if more && self.gather() => Vec::new(),
                true => self.fetch(bytes_max),
                false => match self.readers[at].step(bytes_max) {
                    Step::Out(out) => {
                        again = true;
                        more |= out.iter().map(Out::size).sum::<usize>() >= bytes_max / 2;
                        self.items(at, out)
                    }
                    Step::Read(read) => {
                        (again, more) = (true, true);
                        let ring = self.readers[at].ring().clone();
                        let part = ring.pages.read(&self.shared, &read).await;
                        let out = self.readers[at].finish(&read, part);
                        self.items(at, out)
                    }
                    Step::Pause(until) => {
                        pause = Some(pause.map_or(until, |p| p.min(until)));
                        Vec::new()
                    }
                    Step::Level => Vec::new(),
                },
            };
            if !items.is_empty() {
                self.is_drained =
                    self.taps.is_empty() && matches!(&self.readers[..], [one] if one.is_level());
                self.turn = (at + 1) % count;
                return Collected::Items(items);
            }
        }
        if again { Collected::Again } else { Collected::Nothing(pause) }
    }

    fn items(&mut self, at: usize, out: Vec<Out>) -> Vec<Item> {
        let mut tokens: Vec<_> = match self.readers.len() {
            1 => Vec::new(),
            _ => self.readers.iter().map(Reader::token).collect(),
        };
        let mut whole = |token: Arc<str>| match tokens.get_mut(at) {
            None => token,
            Some(own) => {
                *own = token;
                join(&tokens)
            }
        };
        self.ended |= self.readers[at].is_closed();
        let mut items = Vec::with_capacity(out.len());
        for out in out {
            match out {
                Out::Unrecoverable { reason, token } => {
                    self.shared.counters.unrecoverable.fetch_add(1, Relaxed);
                    let (earliest, latest) = self.readers.iter().map(Reader::ends).unzip();
                    let (earliest, latest) = (Resume(earliest), Resume(latest));
                    items.push(Item::Unrecoverable { reason, earliest, latest, resume: whole(token) });
                }
                Out::Entry { entry, token } if self.mode == Mode::Reliable => {
                    items.push(Item::Event { entry, resume: whole(token) });
                }
                Out::Entry { entry, .. } => {
                    if !self.readers[at].was_announced(entry.position) {
                        items.extend(self.announce(&entry));
                    }
                }
            }
        }
        items
    }

    /// The announcement of an event that was read; nothing when it goes through the inbox.
    fn announce(&self, entry: &Entry) -> Option<Item> {
        let live = entry.live();
        let namespace = self.shared.namespaces.of(&live.channel).ok();
        let Some(key) = namespace.as_ref().and_then(|namespace| namespace.conflate_key()) else {
            return Some(Item::Announcement(live));
        };
        let key = Some(key.of(&live.channel, &live.payload));
        self.inbox.put(Incoming { live, origin: Origin::Log, key });
        None
    }

    /// Whether more of the log is to go into the inbox before something is handed out.
    fn gather(&mut self) -> bool {
        self.gathered += 1;
        self.gathers && self.gathered <= GATHERED_PAGES_MAX && !self.inbox.is_full()
    }

    /// What waits in the inbox.
    fn fetch(&mut self, bytes_max: usize) -> Vec<Item> {
        self.gathered = 0;
        let (mut items, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max.max(1) {
            match self.inbox.pop() {
                None => break,
                Some(Queued::Lost(count)) => items.push(Item::Lost(count)),
                Some(Queued::Item(received)) => {
                    bytes += received.1.live.payload.len() + 1;
                    items.extend(self.receive(received));
                }
            }
        }
        items
    }

    fn receive(&mut self, (place, item): Received) -> Option<Item> {
        let live = item.live.clone();
        match &item.origin {
            Origin::Message => {
                // A message that several targets match comes once for each; the first one delivers it.
                let first = self.targets.iter().position(|t| t.matches(&live.channel));
                (first == Some(place)).then_some(Item::Message(live))
            }
            Origin::Log => Some(Item::Announcement(live)),
            Origin::Announced(topic, position) => {
                let news = match self.readers.iter_mut().find(|r| r.topic() == topic) {
                    Some(reader) => reader.announced(*position),
                    None => self.recent.pass(*position),
                };
                news.then_some(Item::Announcement(live))
            }
            // It is not remembered: what is made up must not hide what is announced there later. The ring brings it
            // where there is one.
            Origin::Ahead(topic) => {
                let is_read = self.readers.iter().any(|r| r.topic() == topic);
                (!is_read).then_some(Item::Announcement(live))
            }
        }
    }
}

enum Collected {
    Items(Vec<Item>),
    /// Something moved; ask again.
    Again,
    Nothing(Option<Instant>),
}

fn join(tokens: &[Arc<str>]) -> Arc<str> {
    tokens.join(".").into()
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for tap in &self.taps {
            tap.leave(self.id);
            tap.usage.leave();
        }
        self.shared.exit(self.id, &self.targets);
    }
}
