//! What can be asked of the hub, and what it answers.

use super::entry::Entry;
use super::live::Live;
use crate::channel::Target;
use crate::log::Gap;
use crate::position::{Position, Resume};
use crate::topic::Epoch;
use std::sync::Arc;

/// A subscription to make.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Channels and patterns, each once; durable and bus-only ones may be mixed.
    pub targets: Vec<Target>,
    /// In full from the log, or announcements as fast as they come.
    pub mode: Mode,
    /// Where to begin.
    pub start: Start,
    /// What to do when the start, or later the place it stands at, cannot be had.
    pub on_unrecoverable: OnUnrecoverable,
}

/// How durable channels are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Full events in log order, none missing, none twice.
    #[default]
    Reliable,
    /// Announcements, from the bus or the log, whichever comes first; each position once, in any order.
    Live,
}

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// At the end of the log as it is when the subscription is made.
    #[default]
    Latest,
    /// At the oldest event that is kept.
    Earliest,
    /// At the first event appended at or after this time, ms since 1970.
    Time(i64),
    /// Where another subscription of the same targets stood.
    Resume(Resume),
    /// With the last so many events (at most [`RECENT_MAX`]).
    Recent(usize),
}

/// Most events [`Start::Recent`] goes back.
pub const RECENT_MAX: usize = 300;

/// What a subscription does after [`Item::Unrecoverable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnUnrecoverable {
    /// It goes on at the end of the log.
    #[default]
    Latest,
    /// It goes on with the oldest event that is kept and was not delivered.
    Earliest,
    /// It ends.
    Close,
}

/// What a subscription yields.
#[derive(Clone, Debug)]
pub enum Item {
    /// A full event of a reliable subscription.
    Event {
        /// The event, shared with all its subscribers.
        entry: Arc<Entry>,
        /// Token to resume after it.
        resume: Arc<str>,
    },
    /// A live announcement of a stored event.
    Announcement(Arc<Live>),
    /// A payload of a bus-only channel, as it came.
    Message(Arc<Live>),
    /// Something that was asked for cannot be had.
    Unrecoverable {
        /// `retention`, `epoch`, `future` or `damage`.
        reason: &'static str,
        /// The oldest place that can be had now.
        earliest: Resume,
        /// The end of the log now.
        latest: Resume,
        /// Where the subscription goes on.
        resume: Arc<str>,
    },
    /// So many live or bus-only items were dropped because this subscriber was slow.
    Lost(u64),
}

/// A page of history to read.
#[derive(Clone, Debug)]
pub struct History {
    /// A durable channel or pattern.
    pub target: Target,
    /// Where to begin.
    pub since: Since,
    /// Most events of the page; clamped to 1–[`HISTORY_LIMIT_MAX`].
    pub limit: usize,
    /// Newest first, the events before `since`.
    pub reverse: bool,
}

/// Most events of a page of history.
pub const HISTORY_LIMIT_MAX: usize = 1000;

/// Where a page of history begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// At the oldest event that is kept.
    Earliest,
    /// At the end.
    Latest,
    /// At the first event appended at or after this time, ms since 1970.
    Time(i64),
    /// Where a token says.
    At(Resume),
}

/// A page of history.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// The events, in log order (or newest first).
    pub entries: Vec<Arc<Entry>>,
    /// Damaged stretches that were passed over, each told once, in the order of the entries.
    pub gaps: Vec<HistoryGap>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Resume>,
    /// The oldest place that can be had.
    pub earliest: Resume,
    /// The end of the log when the page was read.
    pub latest: Resume,
}

/// Records whose stored bytes are damaged, some of which may have been events of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryGap {
    /// Where the first of them stood.
    pub from: Position,
    /// The place behind the last of them, in the same partition.
    pub until: Position,
    /// How many entries of the page come before it.
    pub after: usize,
}

impl HistoryGap {
    /// A gap of a page that is read behind `before` entries.
    pub(super) fn new(epoch: Epoch, gap: Gap, before: usize) -> HistoryGap {
        let Gap { partition, from, until, after } = gap;
        let at = |offset| Position { epoch, partition, offset };
        HistoryGap { from: at(from), until: at(until), after: before + after }
    }

    /// How many records stood there.
    pub fn records(&self) -> u64 {
        self.until.offset - self.from.offset
    }
}
