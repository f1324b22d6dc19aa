//! Which channels there are: those with something stored, from the indexes of the log, and those that somebody on this
//! node subscribes to, from the hub. Page by page in the order of their names, so that a hundred thousand of them are
//! asked for like ten.
//!
//! It says nothing of other nodes, and counts subscribers of a channel by its name: those who follow a pattern are
//! counted with the pattern.

use crate::channel::Channel;
use crate::hub::Hub;
use crate::namespace::{EVENTS, Namespace, Namespaces};
use crate::sources::{SourceRange, Sources};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Most channels of a page.
pub const LIMIT_MAX: usize = 1_000;
/// Lists being made at a time: each looks at every segment of its topics.
const LISTS_MAX: usize = 2;
/// Most questions to the log for one page and topic. More than one are needed only where namespaces share a topic.
const ROUNDS_MAX: usize = 8;

/// Lists channels. Cheap to clone.
#[derive(Clone)]
pub struct Channels {
    sources: Arc<dyn Sources>,
    hub: Hub,
    turn: Arc<Semaphore>,
}

/// Which channels to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// What they begin with; empty for all.
    pub prefix: String,
    /// Only those after this one: [`Page::next`] of the page before.
    pub after: Option<String>,
    /// At most so many, 1 to [`LIMIT_MAX`].
    pub limit: usize,
}

/// A page of channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of the bytes of their names. May be fewer than asked for, or none, although there are more.
    pub channels: Vec<Listed>,
    /// [`List::after`] of the next page; `None` at the end.
    pub next: Option<String>,
}

/// A channel that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub channel: String,
    /// Subscriptions on this node that name it.
    pub subscribers: u64,
}

impl Channels {
    /// Lists what `sources` and `hub` know.
    pub fn new(sources: Arc<dyn Sources>, hub: Hub) -> Channels {
        Channels { sources, hub, turn: Arc::new(Semaphore::new(LISTS_MAX)) }
    }

    /// A page of them.
    ///
    /// # Errors
    /// `invalid_limit`; what the log fails with.
    pub async fn list(&self, list: &List) -> Result<Page> {
        if !(1..=LIMIT_MAX).contains(&list.limit) {
            let message = format!("a page has 1 to {LIMIT_MAX} channels");
            return Err(Error::invalid("invalid_limit", "limit", message).with_limit(LIMIT_MAX as u64));
        }
        let _turn = self.turn.acquire().await;
        // One more than wanted tells whether there are more.
        let wanted = list.limit + 1;
        let mut found: BTreeMap<String, u64> =
            self.hub.named(&list.prefix, list.after.as_deref(), wanted).into_iter().collect();
        let stopped = self.add_stored(list, wanted, &mut found).await?;
        if let Some(stopped) = &stopped {
            // What comes after the place was not asked of the log.
            found.retain(|channel, _| channel <= stopped);
        }
        let is_more = found.len() > list.limit;
        let counted = |(channel, subscribers)| Listed { channel, subscribers };
        let channels: Vec<Listed> = found.into_iter().take(list.limit).map(counted).collect();
        let last = channels.last().map(|listed| listed.channel.clone());
        Ok(Page { next: if is_more { last } else { stopped }, channels })
    }

    /// Adds channels with something stored, in order, until there are `wanted`. Gives the place it stopped at when that
    /// took too long.
    async fn add_stored(
        &self,
        list: &List,
        wanted: usize,
        found: &mut BTreeMap<String, u64>,
    ) -> Result<Option<String>> {
        let mut stored = 0;
        for namespace in in_order(self.hub.namespaces()) {
            let Some(mut range) = range_in(&namespace, list) else { continue };
            for round in 1.. {
                range.max = wanted - stored;
                let sources = match self.sources.sources(&namespace.topic, range.clone()).await {
                    // It was deleted: there is nothing of it.
                    Err(error) if error.code() == "unknown_topic" => Vec::new(),
                    sources => sources?,
                };
                let is_last = sources.len() < range.max;
                let last = sources.last().cloned();
                for channel in sources.iter().filter_map(|source| self.channel(&namespace, source)) {
                    found.entry(channel).or_insert(0);
                    stored += 1;
                }
                if stored >= wanted {
                    return Ok(None);
                }
                if is_last {
                    break;
                }
                if round == ROUNDS_MAX {
                    return Ok(last.map(|last| lead(&namespace) + &String::from_utf8_lossy(&last)));
                }
                range.after = last;
            }
        }
        Ok(None)
    }

    /// The channel of a source in the topic of `namespace`, if it is one of that namespace.
    fn channel(&self, namespace: &Namespace, source: &[u8]) -> Option<String> {
        let (source_type, source_id) = std::str::from_utf8(source).ok()?.split_once(':')?;
        let channel = self.hub.namespaces().channel_in(&namespace.topic, source_type, source_id);
        let is_own = Channel::new(&channel).is_ok() && channel.starts_with(&begin(namespace));
        is_own.then_some(channel)
    }
}

/// Durable namespaces in the order of their channels.
fn in_order(namespaces: &Namespaces) -> Vec<Arc<Namespace>> {
    let mut durable: Vec<_> = namespaces.iter().filter(|n| n.is_durable()).cloned().collect();
    durable.sort_by_key(|namespace| begin(namespace));
    durable
}

/// What all channels of a namespace begin with.
fn begin(namespace: &Namespace) -> String {
    format!("{}:", namespace.name)
}

/// What stands before the source in a channel of a namespace.
fn lead(namespace: &Namespace) -> String {
    if namespace.name == EVENTS { begin(namespace) } else { String::new() }
}

/// The sources of a namespace's channels that are wanted; `None` if none can be.
fn range_in(namespace: &Namespace, list: &List) -> Option<SourceRange> {
    let (begin, lead) = (begin(namespace), lead(namespace));
    let prefix = match list.prefix.starts_with(&begin) {
        true => list.prefix.as_str(),
        false => begin.starts_with(&list.prefix).then_some(begin.as_str())?,
    };
    let after = match list.after.as_deref() {
        Some(after) if after.starts_with(&begin) => Some(after.as_bytes()[lead.len()..].to_vec()),
        Some(after) if after > begin.as_str() => return None,
        _ => None,
    };
    Some(SourceRange { prefix: prefix.as_bytes()[lead.len()..].to_vec(), after, max: 1 })
}
