//! What a subscribing connection brings: messages to those who wait for them here, confirmations, the probe's echo.
//!
//! It runs in the task that reads the socket and never waits: queues behind it drop what does not fit.

use super::counters::Counters;
use super::desk::Desk;
use super::dialect::Dialect;
use bytes::Bytes;
use dualstream_core::bus::Message;
use dualstream_core::channel::{Channel, Pattern, Target};
use dualstream_core::fan_out::FanOut;
use redis::{PushInfo, PushKind, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::watch;

/// The reading side of one connection.
pub(super) struct Reader {
    pub desk: Arc<Desk>,
    pub dialect: Dialect,
    pub fan_out: FanOut,
    pub counters: Arc<Counters>,
    pub prefix: String,
    /// The channel of the connection's probe, as Redis names it.
    pub probe: Arc<str>,
    /// The last probe that came back.
    pub echo: watch::Sender<u64>,
    pub is_gone: watch::Sender<bool>,
    /// Whether it brought anything.
    pub was_useful: AtomicBool,
}

impl Reader {
    /// Takes something that Redis sent by itself.
    pub fn take(&self, push: PushInfo) {
        let PushInfo { kind, data } = push;
        self.was_useful.fetch_or(kind != PushKind::Disconnection, Relaxed);
        let mut data = data.into_iter().map(bytes_of);
        let mut next = || data.next().flatten();
        match kind {
            PushKind::Message | PushKind::SMessage => {
                if let (Some(name), Some(payload)) = (next(), next()) {
                    self.message(&name, payload.into());
                }
            }
            PushKind::PMessage => {
                if let (Some(pattern), Some(name), Some(payload)) = (next(), next(), next()) {
                    self.matching(&pattern, &name, payload.into());
                }
            }
            PushKind::Subscribe | PushKind::PSubscribe | PushKind::SSubscribe => {
                if let Some(target) = next().and_then(|name| self.target(&name)) {
                    self.confirm(&target);
                }
            }
            PushKind::SUnsubscribe => {
                if let Some(name) = next() {
                    self.given_up(&name);
                }
            }
            PushKind::Disconnection => {
                self.is_gone.send_replace(true);
            }
            _ => {}
        }
    }

    fn message(&self, name: &[u8], payload: Bytes) {
        if name == self.probe.as_bytes() {
            let number = std::str::from_utf8(&payload).ok().and_then(|text| text.parse().ok());
            self.echo.send_replace(number.unwrap_or_default());
            return;
        }
        let is_wanted =
            self.own(name).is_some_and(|channel| self.fan_out.deliver_to_channel(channel, payload));
        self.count(is_wanted);
    }

    fn matching(&self, pattern: &[u8], name: &[u8], payload: Bytes) {
        let prefix = self.own(pattern).and_then(|pattern| pattern.strip_suffix('*'));
        let channel = self.own(name).and_then(|name| Channel::new(name).ok());
        // To Redis a pattern matches also what ends where its '*' begins.
        let is_wanted = prefix.zip(channel).is_some_and(|(prefix, channel)| {
            channel.as_str().len() > prefix.len()
                && self.fan_out.deliver_to_prefix(prefix, &Message { channel, payload })
        });
        self.count(is_wanted);
    }

    fn confirm(&self, target: &Target) {
        // Told within the lock of the desk: whoever ends the connection waits for it.
        let mut wants = self.desk.wants();
        if !*self.is_gone.borrow() && wants.confirm(target) {
            self.fan_out.interrupted(target);
        }
    }

    /// Its slot is served elsewhere from now on; or it is what was asked for, and nobody wants it.
    fn given_up(&self, name: &[u8]) {
        let was_confirmed = self.target(name).and_then(|target| self.desk.wants().stray(&target));
        if let Some(was_confirmed) = was_confirmed {
            self.counters.interrupted.fetch_add(u64::from(was_confirmed), Relaxed);
        }
        if was_confirmed.is_some() || name == self.probe.as_bytes() {
            self.dialect.doubt();
        }
    }

    fn target(&self, name: &[u8]) -> Option<Target> {
        let name = self.own(name)?;
        match name.ends_with('*') {
            true => Pattern::new(name).ok().map(Target::Pattern),
            false => Channel::new(name).ok().map(Target::Channel),
        }
    }

    /// A name without what all names of this deployment begin with.
    fn own<'a>(&self, name: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(name).ok()?.strip_prefix(&*self.prefix)
    }

    fn count(&self, is_wanted: bool) {
        let counter = if is_wanted { &self.counters.received } else { &self.counters.rejected };
        counter.fetch_add(1, Relaxed);
    }
}

fn bytes_of(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}
