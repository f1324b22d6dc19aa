//! The reference page of limits against the constants.

use dualstream_core::channel::{CHANNEL_BYTES_MAX, SOURCE_ID_BYTES_MAX, SOURCE_TYPE_BYTES_MAX};
use dualstream_core::event::{EVENT_BYTES_MAX, EXTENSIONS_MAX, ID_BYTES_MAX, TYPE_BYTES_MAX};
use dualstream_core::fan_out::QUEUE_BYTES_MAX;
use dualstream_core::hub::{self, RECENT_MAX};
use dualstream_core::position::TOKEN_BYTES_MAX;
use dualstream_core::publisher;
use dualstream_core::topic::PARTITIONS_DEFAULT;
use dualstream_core::transaction::COMMIT_BYTES_MAX;

const LIMITS: &str = include_str!("../../../../docs/reference/limits.md");

/// The second column of the row that begins so, up to a `,`.
fn limit(row: &str) -> &'static str {
    let line =
        LIMITS.lines().find_map(|line| line.strip_prefix("| ")?.strip_prefix(row)?.strip_prefix(" | "));
    let cell = line.unwrap_or_else(|| panic!("no row for {row}")).split(" |").next().unwrap();
    cell.split(',').next().unwrap()
}

fn bytes(count: usize) -> String {
    match count {
        _ if count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        _ if count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        _ => format!("{count} bytes"),
    }
}

#[test]
fn the_page_of_limits_has_the_constants() {
    let (hub, publisher) = (hub::Settings::default(), publisher::Settings::default());
    for (row, wanted) in [
        ("event, encoded", bytes(EVENT_BYTES_MAX)),
        ("`id`", bytes(ID_BYTES_MAX)),
        ("`type`", bytes(TYPE_BYTES_MAX)),
        ("`source_type`", bytes(SOURCE_TYPE_BYTES_MAX)),
        ("`source_id`", bytes(SOURCE_ID_BYTES_MAX)),
        ("channel or pattern", bytes(CHANNEL_BYTES_MAX)),
        ("further CloudEvents attributes", EXTENSIONS_MAX.to_string()),
        ("`recent`", RECENT_MAX.to_string()),
        ("resume token", bytes(TOKEN_BYTES_MAX)),
        ("messages that wait for one subscription of the in-process bus", bytes(QUEUE_BYTES_MAX)),
        ("one commit", bytes(COMMIT_BYTES_MAX)),
        ("bytes in all rings, with all that was encoded of their entries", bytes(hub.ring_bytes_max)),
        ("bytes read at once for a subscriber that is behind", bytes(hub.page_bytes_max)),
        ("channels and patterns of a subscription", hub.targets_max.to_string()),
        ("bytes of events that wait for the log", bytes(publisher.waiting_bytes_max)),
        ("time a publish waits for its turn", format!("{} s", publisher.wait_max.as_secs())),
        ("time the log's answer is waited for", format!("{} s", publisher.outcome_max.as_secs())),
        ("partitions of an event topic at its creation", PARTITIONS_DEFAULT.to_string()),
    ] {
        assert_eq!(limit(row), wanted, "{row}");
    }
}
