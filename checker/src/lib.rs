//! A history of what tests did to a running dualstream and what they saw of it, and a judge of such histories.
//!
//! ```text
//!  publishers ──invoke, ok | fail | info──┐
//!  full reads ──begins, read …, ends──────┤              ┌─▶ History ──▶ judge ──▶ Report: anomalies, each with a kind,
//!  chains ─────subscribe, deliver …───────┼─▶ Recorder ──┤                         a sentence and the operations around it
//!  gauges, counters, faults, nodes────────┘              └─▶ FILE of JSON lines ──▶ `dualstream-checker check FILE`
//! ```
//! | promise | what breaks it ([`Kind`]) |
//! |---|---|
//! | I1 no lost ack | `lost_ack` |
//! | I2 no phantom | `phantom`, `aborted_read`, `altered` |
//! | I3 one value per offset, in all reads on all nodes | `diverged`, `vanished`, `ack_elsewhere` |
//! | I4 exactly once per event id | `duplicate` |
//! | I5 order per key | `misordered`, `batch_misordered`, `key_split` |
//! | I6 a subscriber's contract, over reconnects | `disordered`, `redelivered`, `gap`, `lost_on_resume`, `early_bookmark`, `epoch_skipped`, `strayed` |
//! | I7 no publish feels a fault of the bus | `felt` |
//! | I11 gauges return to zero | `leak` |
//! | I12 healed in time after a fault | `unhealed`, `late`, `unseen` |
//! | I13 honest errors | `no_code`, `unlisted_code`, `ambiguous_code`, `unanswered` |
//! | I14 counters add up | `unbalanced`, `counter_fell` |
//! | the history can be judged | `malformed`, `no_final_read` |
//!
//! Outcomes are those of Jepsen: *ok*, *fail* (certainly not stored), *info* (not known); the checks are modelled on
//! `jepsen.tests.kafka` and on etcd's contract of watches. An event that was sent twice with the same id counts once: two
//! acks of it may name two places, the later of which is an alias, and readers must see it at one.
//!
//! It knows nothing of dualstream but what is recorded, does no I/O but [`History::read`] and [`History::write`], and is
//! no part of the product. It is not the checker of the simulator, which sees the inside of a run.
#![forbid(unsafe_code)]

mod anomaly;
mod channel;
mod history;
mod judge;
mod line;
mod names;
mod operation;
mod recorder;
mod report;

pub use anomaly::{Anomaly, Kind};
pub use history::History;
pub use judge::{Rules, judge};
pub use names::{Name, Names};
pub use operation::{Blame, Item, Mode, Operation, Place, Start};
pub use recorder::{Call, Chain, Event, Fault, FullRead, Process, Recorder};
pub use report::{Report, Totals};

/// What stands for a value in a history: its CRC-32C.
pub fn value_crc(value: &[u8]) -> u32 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, value);
    u32::try_from(crc).expect("a CRC-32C has 32 bits")
}
