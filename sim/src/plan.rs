//! What a seed stands for: how large, how tuned, and what goes wrong.
//!
//! Sizes are tiny, so that within a run segments roll, journal files are recycled, checkpoints are taken, rings are
//! overrun and retention passes who is slow.

use crate::dice::Dice;
use dualstream_core::{hub, mirror, publisher};
use dualstream_log::{Compression, Fsync, Settings};
use std::time::Duration;

/// Everything that was decided before a run begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Settings of the log.
    pub log: Settings,
    /// Settings of the hub.
    pub hub: hub::Settings,
    /// Settings of the publisher.
    pub publisher: publisher::Settings,
    /// Retention of both topics by age and by size.
    pub retention: (Option<u64>, Option<u64>),
    /// Number of publishers.
    pub publishers: u64,
    /// Publishes each of them makes.
    pub rounds: u64,
    /// Most events of one publish.
    pub batch_max: u64,
    /// Longest body of an event.
    pub event_bytes_max: u64,
    /// Number of subscribers.
    pub subscribers: u64,
    /// Number of clients that come and go.
    pub visitors: u64,
    /// Nodes over a log that stands elsewhere; else there is one node, with its own.
    pub cluster: Option<Cluster>,
    /// How long the seams of the log make their callers wait, at most.
    pub delay_ms_max: u64,
    /// What goes wrong.
    pub faults: Faults,
}

/// Nodes that mirror one log.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// How many.
    pub nodes: usize,
    /// Settings of each mirror.
    pub mirror: mirror::Settings,
}

/// How often each thing goes wrong in a run.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The machine stops at some step of its disk.
    pub crashes: u64,
    /// Some of these come in the step after an announcement.
    pub crashes_after_announcement: u64,
    /// The process is killed between two steps.
    pub kills: u64,
    /// The process is stopped and started in order.
    pub restarts: u64,
    /// A sync fails.
    pub failing_syncs: u64,
    /// A write fails or is cut short.
    pub failing_writes: u64,
    /// The disk is full for a while.
    pub full_disks: u64,
    /// Stored bytes change while the process is down.
    pub damages: u64,
    /// A topic is trimmed.
    pub trims: u64,
    /// The clock is set wrong.
    pub clock_jumps: u64,
    /// The bus changes its mood.
    pub weathers: u64,
    /// A node's line to the log changes its mood.
    pub lines: u64,
}

impl Faults {
    /// Whether publishes may fail at all.
    pub fn touch_storage(&self) -> bool {
        let Faults { crashes, kills, restarts, failing_syncs, failing_writes, full_disks, damages, .. } =
            self;
        crashes + kills + restarts + failing_syncs + failing_writes + full_disks + damages + self.lines > 0
    }
}

impl Plan {
    /// The plan that these dice make.
    pub fn draw(dice: &Dice) -> Plan {
        let event_bytes_max = dice.size(64, 4096);
        let batch_max = dice.between(1, 20);
        let faults = faults(dice);
        let damages = faults.damages > 0;
        let retention = match dice.below(4) {
            0 if !damages => (Some(dice.size(200, 4000)), None),
            1 if !damages => (None, Some(dice.size(8 << 10, 128 << 10))),
            _ => (None, None),
        };
        Plan {
            log: log(dice, batch_max * (event_bytes_max + 600), damages),
            hub: hub::Settings {
                ring_bytes_max: dice.size(2 << 10, 256 << 10) as usize,
                page_bytes_max: dice.size(256, 32 << 10) as usize,
                linger: Duration::from_millis(dice.size(1, 5000)),
                targets_max: 128,
                inbox_bytes_max: 1 << 20,
                inboxes_bytes_max: 512 << 20,
            },
            publisher: publisher::Settings::default(),
            retention,
            publishers: dice.between(1, 5),
            rounds: dice.between(15, 60),
            batch_max,
            event_bytes_max,
            subscribers: dice.between(3, 9),
            visitors: 0,
            cluster: None,
            delay_ms_max: *dice.pick(&[0, 0, 2, 10]),
            faults,
        }
    }
}

impl Plan {
    /// The same with several nodes over one log that stands elsewhere.
    #[must_use]
    pub fn over_a_shared_log(self, dice: &Dice) -> Plan {
        let mirror = mirror::Settings {
            backfill_records: *dice.pick(&[0, 5, 50, 65_536]),
            idle: Duration::from_millis(dice.size(100, 60_000)),
            refresh: Duration::from_millis(dice.size(50, 1_000)),
            verify: Duration::from_millis(dice.size(500, 60_000)),
            range_bytes_max: dice.size(1 << 10, 1 << 20) as usize,
            topic_bytes_max: dice.once_in(3).then(|| dice.size(8 << 10, 128 << 10)),
            ..mirror::Settings::default()
        };
        let calm = self.faults.crashes + self.faults.kills + self.faults.weathers == 0;
        let lines = if calm { 0 } else { dice.between(0, 8) };
        Plan {
            cluster: Some(Cluster { nodes: dice.between(2, 3) as usize, mirror }),
            retention: (None, None),
            // Nothing is trimmed, and what a mirror loses is nowhere missed.
            faults: Faults { trims: 0, lines, ..self.faults },
            delay_ms_max: *dice.pick(&[0, 2, 10, 100]),
            ..self
        }
    }
}

fn log(dice: &Dice, commit_bytes: u64, damages: bool) -> Settings {
    let every = dice.below(8) == 0 && !damages;
    Settings {
        fsync: match every {
            true => Fsync::Every(Duration::from_millis(dice.size(5, 500))),
            false => Fsync::Always,
        },
        segment_bytes: dice.size(2 << 10, 64 << 10),
        journal_file_bytes: (commit_bytes * 3).max(dice.size(8 << 10, 256 << 10)),
        checkpoint_bytes: dice.size(4 << 10, 256 << 10),
        checkpoint_interval: Duration::from_millis(dice.size(20, 5000)),
        compression: if dice.once_in(3) && !damages { Compression::Zstd } else { Compression::None },
        free_bytes_min: *dice.pick(&[0, 16 << 10]),
        sidecar_cache_bytes_max: dice.size(1 << 10, 1 << 20) as usize,
        ..Settings::default()
    }
}

fn faults(dice: &Dice) -> Faults {
    let sometimes = |one_in: u64, most: u64| if dice.once_in(one_in) { dice.between(1, most) } else { 0 };
    if dice.once_in(12) {
        // A calm seed: whatever breaks here needs no fault.
        return Faults::default();
    }
    let crashes = if dice.once_in(3) { 0 } else { dice.between(1, 6) };
    let faults = Faults {
        crashes,
        crashes_after_announcement: sometimes(3, crashes.max(1)).min(crashes),
        kills: sometimes(4, 3),
        restarts: sometimes(5, 2),
        failing_syncs: sometimes(5, 3),
        failing_writes: sometimes(8, 3),
        full_disks: sometimes(8, 2),
        damages: sometimes(7, 3),
        trims: sometimes(4, 5),
        clock_jumps: sometimes(6, 3),
        weathers: if dice.once_in(4) { 0 } else { dice.between(1, 8) },
        lines: 0,
    };
    // What damage took and what a trim took could not be told apart.
    Faults { trims: if faults.damages > 0 { 0 } else { faults.trims }, ..faults }
}
