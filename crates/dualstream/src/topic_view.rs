//! Topics as people see them: a table of all, one with a bar for each partition. Colours only on a terminal.

use crate::client::topics::Topic;
use crate::output::{count, counted};
use crate::table::{Table, bar};
use console::{Style, Term};
use dualstream::settings::{Period, Size};
use indicatif::HumanBytes;

/// Longest bar, and where there is no terminal the only length.
const BAR_WIDTH: usize = 32;
/// Columns of a terminal that are left to a bar, at least.
const BAR_WIDTH_MIN: usize = 8;

/// All topics, one a line.
pub fn list(topics: &[Topic]) -> Vec<String> {
    if topics.is_empty() {
        return vec!["there are no topics".to_owned()];
    }
    let mut table =
        Table::new(&["TOPIC", ">PARTITIONS", ">RECORDS", ">SIZE", "RETENTION", "CLEANUP", "NAMESPACES"]);
    for topic in topics {
        table.row([
            topic.name.clone(),
            topic.partitions.to_string(),
            count(topic.records),
            size(topic),
            retention(topic),
            topic.cleanup_policy.clone(),
            topic.namespaces.join(", "),
        ]);
    }
    table.lines(&Style::new().bold())
}

/// One topic on a line, and what was done to it.
pub fn summary(done: &str, topic: &Topic) -> Vec<String> {
    let Topic { name, cleanup_policy, .. } = topic;
    let partitions = counted(topic.partitions.into(), "partition");
    vec![format!("{done} {name}: {partitions}, retention {}, cleanup {cleanup_policy}", retention(topic))]
}

/// Everything about one topic.
pub fn description(topic: &Topic) -> Vec<String> {
    let size = match topic.segments {
        Some(segments) => format!("{} in {}", size(topic), counted(segments, "segment")),
        None => size(topic),
    };
    let namespaces =
        if topic.namespaces.is_empty() { "none".to_owned() } else { topic.namespaces.join(", ") };
    let dim = Style::new().dim();
    let mut lines = vec![Style::new().bold().apply_to(&topic.name).to_string()];
    for (name, value) in [
        ("partitions", count(topic.partitions.into())),
        ("records", count(topic.records)),
        ("size", size),
        ("retention", retention(topic)),
        ("cleanup policy", topic.cleanup_policy.clone()),
        ("timestamps", topic.timestamp_type.clone()),
        ("epoch", topic.epoch.clone()),
        ("namespaces", namespaces),
    ] {
        lines.push(format!("  {}  {value}", dim.apply_to(format!("{name:<14}"))));
    }
    lines.push(String::new());
    lines.extend(partitions(topic).into_iter().map(|line| format!("  {line}")));
    lines
}

fn size(topic: &Topic) -> String {
    topic.bytes.map_or_else(|| "not told".to_owned(), |bytes| HumanBytes(bytes).to_string())
}

/// A line with a bar for each partition.
fn partitions(topic: &Topic) -> Vec<String> {
    let records = |offsets: &crate::client::topics::Offsets| offsets.latest.saturating_sub(offsets.earliest);
    let most = topic.offsets.iter().map(records).max().unwrap_or(0);
    let mut table = Table::new(&[">partition", ">earliest", ">latest", ">records", ""]);
    for offsets in &topic.offsets {
        let numbers = [u64::from(offsets.partition), offsets.earliest, offsets.latest, records(offsets)];
        table.row(numbers.into_iter().map(count));
    }
    let dim = Style::new().dim();
    let (mut lines, width) = (table.lines(&dim), bar_width(&table));
    let colour = Style::new().cyan();
    for (line, offsets) in lines.iter_mut().skip(1).zip(&topic.offsets) {
        let bar = bar(records(offsets), most, width);
        if !bar.is_empty() {
            *line = format!("{line}  {}", colour.apply_to(bar));
        }
    }
    lines
}

/// As much as the terminal leaves.
fn bar_width(table: &Table) -> usize {
    let terminal = Term::stdout();
    if !terminal.is_term() {
        return BAR_WIDTH;
    }
    let text = table.lines(&Style::new()).iter().map(|line| line.chars().count()).max().unwrap_or(0);
    usize::from(terminal.size().1).saturating_sub(text + 5).clamp(BAR_WIDTH_MIN, BAR_WIDTH)
}

fn retention(topic: &Topic) -> String {
    let age = topic.retention_ms.map(|ms| Period::millis(ms).to_string());
    let size = topic.retention_bytes.map(|bytes| format!("at most {}", Size::bytes(bytes)));
    let bounds: Vec<String> = age.into_iter().chain(size).collect();
    if bounds.is_empty() { "none".to_owned() } else { bounds.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::topics::Offsets;

    fn topic() -> Topic {
        let offsets = [(0, 1_000), (200, 700), (5, 5)];
        let offsets =
            (0..).zip(offsets).map(|(partition, (earliest, latest))| Offsets { partition, earliest, latest });
        Topic {
            name: "orders".into(),
            partitions: 3,
            records: 1_500,
            bytes: Some(300 << 20),
            segments: Some(5),
            retention_ms: Some(7 * 86_400_000),
            retention_bytes: Some(64 << 30),
            cleanup_policy: "delete".into(),
            timestamp_type: "LogAppendTime".into(),
            epoch: "00000000000000ab".into(),
            namespaces: vec!["shop".into()],
            offsets: offsets.collect(),
            ..Topic::default()
        }
    }

    #[test]
    fn a_topic_is_drawn_with_a_bar_for_each_partition() {
        assert_eq!(
            description(&topic()),
            [
                "orders",
                "  partitions      3",
                "  records         1,500",
                "  size            300.00 MiB in 5 segments",
                "  retention       7d, at most 64GiB",
                "  cleanup policy  delete",
                "  timestamps      LogAppendTime",
                "  epoch           00000000000000ab",
                "  namespaces      shop",
                "",
                "  partition  earliest  latest  records",
                "          0         0   1,000    1,000  ████████████████████████████████",
                "          1       200     700      500  ████████████████",
                "          2         5       5        0",
            ]
        );
    }

    #[test]
    fn a_list_is_a_table() {
        let table = Topic { name: "t".into(), cleanup_policy: "compact".into(), ..Topic::default() };
        assert_eq!(
            list(&[topic(), table]),
            [
                "TOPIC   PARTITIONS  RECORDS        SIZE  RETENTION          CLEANUP  NAMESPACES",
                "orders           3    1,500  300.00 MiB  7d, at most 64GiB  delete   shop",
                "t                0        0    not told  none               compact",
            ]
        );
        assert_eq!(list(&[]), ["there are no topics"]);
    }
}
