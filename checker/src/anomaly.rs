//! What can be wrong with a history.

use std::fmt;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Which.
    pub kind: Kind,
    /// One sentence.
    pub what: String,
    /// The operations it is seen from: each with its line in the file, from 1, and the line.
    pub excerpt: Vec<(usize, String)>,
}

macro_rules! kinds {
    ($($kind:ident $name:literal $promise:literal $doc:literal;)*) => {
        /// The ways in which promises are broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = $doc] $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

            /// Its stable name.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }

            /// The promise it breaks.
            pub fn promise(self) -> &'static str {
                match self { $(Kind::$kind => $promise,)* }
            }
        }
    };
}

kinds! {
    LostAck "lost_ack" "I1 no lost ack" "An acknowledged event is not in a later full read.";
    Phantom "phantom" "I2 no phantom" "An event was read that nobody published, or not yet.";
    AbortedRead "aborted_read" "I2 no phantom" "An event was read whose publish certainly failed.";
    Altered "altered" "I2 no phantom" "An event was read with another value, key or topic than it was published with.";
    Diverged "diverged" "I3 one value per offset" "Two reads, or a read and an ack, name different events at one place.";
    Vanished "vanished" "I3 one value per offset" "An event that was read is not in a later full read.";
    AckElsewhere "ack_elsewhere" "I3 one value per offset" "An ack names a place that is neither the event's nor an alias of it.";
    Duplicate "duplicate" "I4 exactly once" "An event stands at two places.";
    Misordered "misordered" "I5 order per key" "An event stands before one of its key that was acknowledged before it was sent.";
    BatchMisordered "batch_misordered" "I5 order per key" "Two events of one key and batch stand in the other order.";
    KeySplit "key_split" "I5 order per key" "Events of one key stand in two partitions.";
    Disordered "disordered" "I6 ordered" "A subscriber was given an event after a later one of its partition.";
    Redelivered "redelivered" "I6 unique" "A subscriber was given an event twice.";
    Gap "gap" "I6 reliable" "A subscriber was not given an event that stands between others it was given.";
    LostOnResume "lost_on_resume" "I6 resumable" "What stands between the last event before a reconnect and the first after it was not given.";
    EarlyBookmark "early_bookmark" "I6 bookmarkable" "A subscriber was told that it has what it was not given yet.";
    EpochSkipped "epoch_skipped" "I6 resumable" "A subscriber went into another epoch and was not told.";
    Strayed "strayed" "I6 filter" "A subscriber was given an event of another channel.";
    Felt "felt" "I7 no fault of the bus is felt" "A publish failed, or took too long, though nothing but the bus was broken.";
    Leak "leak" "I11 no leak" "A gauge is not zero when all is over.";
    Unhealed "unhealed" "I12 healed" "A publish failed, or took too long, though no fault was or had been for long enough.";
    Late "late" "I12 healed" "A subscriber was given an event too late though no fault was.";
    Unseen "unseen" "I12 healed" "A subscriber never came to the end of the log.";
    NoCode "no_code" "I13 honest errors" "A failure has no stable code.";
    UnlistedCode "unlisted_code" "I13 honest errors" "A failure has a code that is not documented.";
    AmbiguousCode "ambiguous_code" "I13 honest errors" "One code says that nothing was stored, and elsewhere that it is not known.";
    Unanswered "unanswered" "I13 honest errors" "A publish has no outcome.";
    Unbalanced "unbalanced" "I14 counters add up" "Counters that must give the same do not.";
    CounterFell "counter_fell" "I14 counters add up" "A counter went back while its node ran.";
    Malformed "malformed" "the history can be judged" "The history contradicts itself: a fault of the test.";
    NoFinalRead "no_final_read" "the history can be judged" "Nobody read a topic after its last ack: a fault of the test.";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.kind, self.kind.promise(), self.what)?;
        self.excerpt.iter().try_for_each(|(number, line)| write!(f, "\n{number:>9}  {line}"))
    }
}
