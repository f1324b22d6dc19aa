//! What can be recorded. One definition for memory, where names are numbers, and for files, where they are texts.

use serde::{Deserialize, Serialize};

/// Where a record stands in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Epoch of the topic.
    pub epoch: u64,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
}

/// An event as a reader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item<N> {
    /// Its id.
    pub id: N,
    /// Its key: the channel it belongs to, `type:source`.
    pub key: N,
    /// [`value_crc`](crate::value_crc) of its value; none where only an announcement was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc: Option<u32>,
    /// Where it stands; none where the reader is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The request is wrong, and would be on a healthy server too.
    Caller,
    /// A healthy server would have taken it.
    Server,
}

/// What a subscription promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Everything, once, in order.
    Reliable,
    /// At most once.
    Live,
}

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest event there is.
    Earliest,
    /// With the events that are published from now on.
    Latest,
    /// With these offsets, one for each partition, in whatever epoch the topic has.
    Next(Box<[u64]>),
    /// Where the same chain stopped.
    Resume,
}

/// One thing that happened. `N` is a name: [`Name`](crate::Name) in memory, text in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation<N> {
    /// A process is about to publish an event.
    Invoke {
        /// Who publishes.
        process: N,
        /// Id of the event; unique in a history, but for retries of the same event.
        id: N,
        /// Key: the channel, `type:source`.
        key: N,
        /// Topic.
        topic: N,
        /// CRC of its value.
        crc: u32,
        /// Events of one process with the same number are one batch, in the order of their invocations.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batch: Option<u32>,
    },
    /// It was acknowledged.
    Ok {
        /// Who published.
        process: N,
        /// Id of the event.
        id: N,
        /// Where it stands, or an alias of it.
        place: Place,
    },
    /// It was refused and is certainly not stored.
    Fail {
        /// Who published.
        process: N,
        /// Id of the event.
        id: N,
        /// Stable code of the error.
        code: N,
        /// Whose fault that was.
        blame: Blame,
    },
    /// Whether it is stored is not known.
    Info {
        /// Who published.
        process: N,
        /// Id of the event.
        id: N,
        /// Stable code of the error.
        code: N,
    },
    /// A topic is read from its beginning to its end.
    ReadBegins {
        /// Name of this read, used once.
        reader: N,
        /// The node that is read from.
        node: N,
        /// The topic.
        topic: N,
        /// Its epoch.
        epoch: u64,
        /// The first offset of each partition.
        earliest: Box<[u64]>,
    },
    /// A full read met an event.
    Read {
        /// Which read.
        reader: N,
        /// What it met, with its place.
        item: Item<N>,
    },
    /// A full read met the end of all partitions. A read without it saw only a part.
    ReadEnds {
        /// Which read.
        reader: N,
        /// The next offset of each partition.
        latest: Box<[u64]>,
    },
    /// A chain of sessions begins, or goes on after a break.
    Subscribe {
        /// Name of the chain.
        chain: N,
        /// The node it is connected to.
        node: N,
        /// The topic; none when its channel may be of any.
        topic: Option<N>,
        /// A key, or the beginning of keys followed by `*`.
        channel: N,
        /// What it promises.
        mode: Mode,
        /// Where it begins.
        from: Start,
    },
    /// A chain was given an event.
    Deliver {
        /// Which chain.
        chain: N,
        /// The event.
        item: Item<N>,
    },
    /// A chain was told that it has everything below these offsets that it wants.
    Progress {
        /// Which chain.
        chain: N,
        /// Epoch of its topic.
        epoch: u64,
        /// The next offset of each partition.
        next: Box<[u64]>,
    },
    /// A chain was told that it cannot go on where it stopped.
    Unrecoverable {
        /// Which chain.
        chain: N,
        /// Where it goes on instead; not `Resume`.
        from: Start,
    },
    /// The test gave a chain up. A chain without it must have everything when the history ends.
    Close {
        /// Which chain.
        chain: N,
    },
    /// A topic was deleted and created again, or cut, on purpose: what was acknowledged before is excused.
    Recreated {
        /// The topic.
        topic: N,
    },
    /// Something is broken on purpose.
    FaultBegins {
        /// What.
        fault: N,
        /// It is of the bus alone: no publish may feel it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        of_bus: bool,
    },
    /// It is whole again.
    FaultEnds {
        /// What.
        fault: N,
    },
    /// A node was started: its gauges and counters begin anew.
    NodeUp {
        /// Which.
        node: N,
    },
    /// A node was ended: what its gauges said does not matter any more.
    NodeDown {
        /// Which.
        node: N,
    },
    /// A sample of what must be zero when all is over.
    Gauge {
        /// Of which node.
        node: N,
        /// Name of the gauge.
        gauge: N,
        /// Its value.
        value: i64,
    },
    /// A sample of what only grows while its node runs.
    Counter {
        /// Of which node.
        node: N,
        /// Name of the counter.
        counter: N,
        /// Its value.
        value: u64,
    },
    /// The counters on both sides, each summed over all nodes and their lives, must give the same at the end.
    Balance {
        /// Names of counters.
        left: Box<[N]>,
        /// Names of counters.
        right: Box<[N]>,
    },
}

impl<N> Item<N> {
    fn map<M>(self, f: &mut impl FnMut(N) -> M) -> Item<M> {
        Item { id: f(self.id), key: f(self.key), crc: self.crc, place: self.place }
    }
}

impl<N> Operation<N> {
    /// The same with other names.
    pub fn map<M>(self, f: &mut impl FnMut(N) -> M) -> Operation<M> {
        use Operation as O;
        match self {
            O::Invoke { process, id, key, topic, crc, batch } => {
                O::Invoke { process: f(process), id: f(id), key: f(key), topic: f(topic), crc, batch }
            }
            O::Ok { process, id, place } => O::Ok { process: f(process), id: f(id), place },
            O::Fail { process, id, code, blame } => {
                O::Fail { process: f(process), id: f(id), code: f(code), blame }
            }
            O::Info { process, id, code } => O::Info { process: f(process), id: f(id), code: f(code) },
            O::ReadBegins { reader, node, topic, epoch, earliest } => {
                O::ReadBegins { reader: f(reader), node: f(node), topic: f(topic), epoch, earliest }
            }
            O::Read { reader, item } => O::Read { reader: f(reader), item: item.map(f) },
            O::ReadEnds { reader, latest } => O::ReadEnds { reader: f(reader), latest },
            O::Subscribe { chain, node, topic, channel, mode, from } => {
                let (chain, node, topic) = (f(chain), f(node), topic.map(&mut *f));
                O::Subscribe { chain, node, topic, channel: f(channel), mode, from }
            }
            O::Deliver { chain, item } => O::Deliver { chain: f(chain), item: item.map(f) },
            O::Progress { chain, epoch, next } => O::Progress { chain: f(chain), epoch, next },
            O::Unrecoverable { chain, from } => O::Unrecoverable { chain: f(chain), from },
            O::Close { chain } => O::Close { chain: f(chain) },
            O::Recreated { topic } => O::Recreated { topic: f(topic) },
            O::FaultBegins { fault, of_bus } => O::FaultBegins { fault: f(fault), of_bus },
            O::FaultEnds { fault } => O::FaultEnds { fault: f(fault) },
            O::NodeUp { node } => O::NodeUp { node: f(node) },
            O::NodeDown { node } => O::NodeDown { node: f(node) },
            O::Gauge { node, gauge, value } => O::Gauge { node: f(node), gauge: f(gauge), value },
            O::Counter { node, counter, value } => O::Counter { node: f(node), counter: f(counter), value },
            O::Balance { left, right } => {
                let mut names = |side: Box<[N]>| side.into_iter().map(&mut *f).collect();
                O::Balance { left: names(left), right: names(right) }
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { epoch, partition, offset } = self;
        write!(f, "partition {partition}, offset {offset} (epoch {epoch})")
    }
}
