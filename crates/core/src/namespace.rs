//! Namespaces: the part of a channel before its first `:`, whose settings decide everything else about it.

use crate::channel::{Channel, Target};
use crate::conflation::ConflateKey;
use crate::filter::Filter;
use crate::topic::TopicName;
use crate::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The namespace whose channels are `events:{source_type}:{source_id}`.
pub const EVENTS: &str = "events";

/// Which halves a namespace uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Stream {
    /// The log alone: stored, not announced.
    Log,
    /// The bus alone: instant, may be lost.
    Bus,
    /// Stored, then announced.
    #[default]
    Dual,
}

/// What happens to live and bus-only items of a client that is slow.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum SlowClient {
    /// It is disconnected.
    #[default]
    Disconnect,
    /// Past the bound of its queue only the latest item of each key is kept for it.
    Conflate(ConflateKey),
}

/// Settings of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Which halves it uses.
    pub stream: Stream,
    /// The topic of its durable channels.
    pub topic: TopicName,
    /// Policy for slow clients.
    pub slow_client: SlowClient,
    /// Whether live subscriptions are fed from the local log too, not from the bus alone.
    pub live_feed: bool,
    /// Set when programs that know nothing of dualstream write its topic: what their records' channels are called by.
    pub channel_from: Option<ChannelFrom>,
}

/// What of a foreign record its channel is called by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelFrom {
    /// Its key.
    Key,
    /// The last header of this name.
    Header(String),
}

impl Namespace {
    /// Whether its channels are stored.
    pub fn is_durable(&self) -> bool {
        self.stream != Stream::Bus
    }

    /// Whether its events are announced on the bus.
    pub fn is_announced(&self) -> bool {
        self.stream != Stream::Log
    }

    /// What live items of a slow client are conflated by, if they are.
    pub(crate) fn conflate_key(&self) -> Option<&ConflateKey> {
        match &self.slow_client {
            SlowClient::Disconnect => None,
            SlowClient::Conflate(key) => Some(key),
        }
    }

    /// The sources in [`topic`](Namespace::topic) that a channel or pattern of this namespace stands for: in `events`
    /// `events:T:I` is the source `T:I`; elsewhere the channel itself is `source_type:source_id`.
    pub fn filter(&self, target: &Target) -> Filter {
        let text = target.as_str();
        let source = match self.name == EVENTS {
            true => text.split_once(':').map_or(text, |(_, rest)| rest),
            false => text,
        };
        match target {
            Target::Channel(_) => Filter::source(source),
            Target::Pattern(_) => Filter::prefix(source.strip_suffix('*').unwrap_or(source)),
        }
    }

    /// `(source_type, source_id)` of a durable channel of this namespace.
    ///
    /// # Errors
    /// `invalid_channel` when the rest is not of the form `source_type:source_id`.
    pub fn source_of<'a>(&self, channel: &'a Channel) -> Result<(&'a str, &'a str)> {
        let text = channel.as_str();
        let source = match self.name == EVENTS {
            true => text.split_once(':').map_or(text, |(_, rest)| rest),
            false => text,
        };
        source.split_once(':').ok_or_else(|| {
            Error::invalid(
                "invalid_channel",
                "channel",
                "a stored channel is namespace:source_id, in events events:source_type:source_id",
            )
        })
    }

    /// The channel of an event with this source.
    pub fn channel_of(&self, source_type: &str, source_id: &str) -> String {
        match self.name == EVENTS {
            true => [EVENTS, ":", source_type, ":", source_id].concat(),
            false => [source_type, ":", source_id].concat(),
        }
    }
}

/// All namespaces of a deployment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Namespaces {
    by_name: Arc<BTreeMap<String, Arc<Namespace>>>,
    default: Option<Arc<str>>,
}

impl Namespaces {
    /// The namespaces given; `events` is added with the topic `events` if it is not among them. Channels without `:`
    /// belong to `default`.
    pub fn new(namespaces: Vec<Namespace>, default: Option<&str>) -> Namespaces {
        let mut by_name: BTreeMap<_, _> =
            namespaces.into_iter().map(|n| (n.name.clone(), Arc::new(n))).collect();
        if !by_name.contains_key(EVENTS)
            && let Ok(topic) = TopicName::new(EVENTS)
        {
            let events = Namespace {
                name: EVENTS.into(),
                stream: Stream::Dual,
                topic,
                slow_client: SlowClient::Disconnect,
                live_feed: true,
                channel_from: None,
            };
            by_name.insert(EVENTS.into(), Arc::new(events));
        }
        Namespaces { by_name: Arc::new(by_name), default: default.map(Arc::from) }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.by_name.values()
    }

    /// The namespace a channel or pattern belongs to.
    ///
    /// # Errors
    /// `NotFound` (`unknown_channel`) when it is not configured.
    pub fn of(&self, target: &str) -> Result<&Arc<Namespace>> {
        let name = target.split_once(':').map(|(name, _)| name).or(self.default.as_deref());
        name.and_then(|name| self.by_name.get(name)).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "unknown_channel",
                "no namespace of that name is configured ([namespaces.NAME] in the settings)",
            )
            .with_field("channel")
        })
    }

    /// The channel of a source of `topic`.
    pub fn channel_in(&self, topic: &TopicName, source_type: &str, source_id: &str) -> String {
        let namespace = self.of_source_type(source_type);
        match namespace.topic == *topic {
            true => namespace.channel_of(source_type, source_id),
            false => format!("{EVENTS}:{source_type}:{source_id}"),
        }
    }

    /// The namespace an event of this source type is stored in: the durable one of that name, else `events`.
    pub fn of_source_type(&self, source_type: &str) -> &Arc<Namespace> {
        self.by_name
            .get(source_type)
            .filter(|n| n.is_durable() && n.name != EVENTS)
            .unwrap_or_else(|| &self.by_name[EVENTS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_stand_for_sources() {
        let chat = Namespace {
            name: "chat".into(),
            stream: Stream::Dual,
            topic: TopicName::new("chat").unwrap(),
            slow_client: SlowClient::Disconnect,
            live_feed: true,
            channel_from: None,
        };
        let all = Namespaces::new(vec![chat], None);
        for (target, source, wanted) in [
            ("events:repo:o/r", "repo:o/r", true),
            ("events:*", "repo:o/r", true),
            ("events:repo:*", "repos:x", false),
            ("chat:room", "chat:room", true),
            ("chat:*", "chat:room", true),
        ] {
            let filter = all.of(target).unwrap().filter(&Target::parse(target).unwrap());
            assert_eq!(filter.matches_source(source.as_bytes()), wanted, "{target}");
        }
        assert_eq!(all.of_source_type("chat").channel_of("chat", "room"), "chat:room");
        assert_eq!(all.of_source_type("repo").channel_of("repo", "o/r"), "events:repo:o/r");
        assert_eq!(all.of("nope:x").unwrap_err().code(), "unknown_channel");
        assert_eq!(all.of("bare").unwrap_err().code(), "unknown_channel");
    }
}
