//! `dualstream copy-log`: copies topics between an embedded log and Kafka, and compares both sides.

use super::block_on;
use crate::output::{Format, counted};
use crate::progress::Progress;
use crate::{Global, output};
use anyhow::{Context, anyhow, bail};
use dualstream::copy_log::{self, Compared, Copied, EmbeddedSide, Options, Sum, Target};
use dualstream::core::Error;
use dualstream::core::topic::TopicName;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

/// How an address of Kafka begins.
const KAFKA: &str = "kafka://";

/// What to copy, and where to.
#[derive(clap::Args)]
pub struct Arguments {
    /// The log to copy: a data directory that nobody serves, or kafka://HOST:PORT, several with commas
    #[arg(long, value_name = "LOG")]
    from: Place,
    /// The log to copy to, of the same form; a directory is made if it is not there
    #[arg(long, value_name = "LOG")]
    to: Place,
    /// Topics to copy; all but the log's own (`__…`) if none is named
    #[arg(long = "topic", value_name = "NAME", num_args = 1.., value_parser = topic)]
    topics: Vec<TopicName>,
    /// A property of the Kafka client, like a setting of the section [kafka] of a server
    #[arg(long = "kafka-property", value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
    /// Copy nothing, only compare both sides
    #[arg(long)]
    verify: bool,
    /// Copy behind records of somebody else too
    #[arg(long)]
    force: bool,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Directory(PathBuf),
    Kafka(String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        match text.strip_prefix(KAFKA) {
            Some("") => Err("an address of Kafka is kafka://host:port, several with commas".into()),
            Some(addresses) => Ok(Place::Kafka(addresses.trim_end_matches('/').to_owned())),
            None if text.contains("://") => Err("a log is a data directory, or kafka://host:port".into()),
            None if text.is_empty() => Err("a log is a data directory, or kafka://host:port".into()),
            None => Ok(Place::Directory(text.into())),
        }
    }
}

fn topic(text: &str) -> Result<TopicName, String> {
    let name = TopicName::new(text).map_err(|error| error.to_string())?;
    match name.is_internal() {
        true => Err("topics that begin with `__` are the log's own: the other log makes its own".into()),
        false => Ok(name),
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a property is NAME=VALUE")?;
    let name = name.trim().strip_prefix("kafka.").unwrap_or(name.trim());
    Ok((name.to_owned(), value.to_owned()))
}

/// Copies, then compares; fails when both sides are not the same.
pub fn run(args: Arguments, global: &Global) -> anyhow::Result<()> {
    let Arguments { from, to, topics, properties, verify, force } = args;
    if from == to {
        bail!("--from and --to are the same log");
    }
    let properties: BTreeMap<String, String> = properties.into_iter().collect();
    block_on(async move {
        let source = open(&from, &properties, true).context("cannot use the log of --from")?;
        let target = open(&to, &properties, verify).context("cannot use the log of --to")?;
        let topics = match topics.is_empty() {
            true => source.topics().await.map_err(told)?,
            false => topics,
        };
        let options = Options { force, verify_only: verify };
        let mut unequal = 0;
        for topic in &topics {
            let bar = Progress::of_records(Some(0));
            let progress = |at: copy_log::Progress<'_>| {
                let doing = if at.comparing { "comparing" } else { "copying" };
                bar.at(at.done, at.total, format!("{doing} {}", at.topic));
            };
            let copied = copy_log::copy(&*source, &*target, topic, options, &progress).await;
            drop(bar);
            let copied = copied.map_err(told)?;
            tell(&copied, verify, global.output)?;
            unequal += usize::from(!copied.is_equal());
        }
        match unequal {
            0 => Ok(()),
            _ => bail!("{} not the same on both sides", counted(unequal as u64, "topic")),
        }
    })
}

fn open(
    place: &Place,
    properties: &BTreeMap<String, String>,
    must_be_there: bool,
) -> anyhow::Result<Box<dyn Target>> {
    match place {
        Place::Directory(dir) if must_be_there && !dir.is_dir() => {
            bail!("there is no directory {}", dir.display())
        }
        Place::Directory(dir) => Ok(Box::new(EmbeddedSide::open(dir).map_err(told)?)),
        #[cfg(feature = "kafka")]
        Place::Kafka(addresses) => {
            Ok(Box::new(copy_log::KafkaSide::new(addresses, properties).map_err(told)?))
        }
        #[cfg(not(feature = "kafka"))]
        Place::Kafka(_) => bail!(
            "this program was built without Kafka: build it with the feature `kafka` ({} properties)",
            properties.len()
        ),
    }
}

/// An error with its field and its mend.
fn told(error: Error) -> anyhow::Error {
    let field = error.field().map_or_else(String::new, |field| format!(" ({field})"));
    match error.mend() {
        Some(mend) => anyhow!("{error}{field}; {mend}"),
        None => anyhow!("{error}{field}"),
    }
}

fn tell(copied: &Copied, verify: bool, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => output::line(&as_json(copied).to_string())?,
        Format::Human => lines(copied, verify).iter().try_for_each(|line| output::line(line))?,
    }
    Ok(())
}

fn lines(copied: &Copied, verify: bool) -> Vec<String> {
    let Copied { topic, epoch, partitions, .. } = copied;
    let mut lines = Vec::new();
    if !verify {
        let created = if copied.is_created { "created, " } else { "" };
        lines.push(format!("{topic}: {created}{} copied, epoch {epoch}", counted(copied.records, "record")));
        let timestamps = match copied.keeps_timestamps {
            true => "timestamps are those of the source",
            false => "timestamps are those of the copy, as the topic stamps what it appends (LogAppendTime)",
        };
        lines.push(format!("{topic}: {timestamps}"));
    }
    let records: u64 = partitions.iter().map(|partition| partition.source.records).sum();
    lines.push(match copied.is_equal() {
        true => format!("{topic}: {} are the same on both sides", counted(records, "record")),
        false => format!("{topic}: not the same on both sides"),
    });
    lines.extend(partitions.iter().filter(|partition| !partition.is_equal()).map(|partition| {
        let Compared { partition, source, target, differences, first, .. } = partition;
        let first = first.as_ref().map_or_else(String::new, |first| {
            format!("; the first at offset {} of the source: {}", first.offset, first.what)
        });
        let (from, to) = (sum(source), sum(target));
        format!(
            "  partition {partition}: source {from}, target {to}, {} {first}",
            counted(*differences, "difference")
        )
    }));
    let others: u64 = partitions.iter().map(|partition| partition.others).sum();
    if others > 0 {
        lines.push(format!("{topic}: {} of the target are somebody else's", counted(others, "record")));
    }
    lines
}

fn sum(sum: &Sum) -> String {
    format!("{} ({:032x})", counted(sum.records, "record"), sum.checksum)
}

fn as_json(copied: &Copied) -> serde_json::Value {
    let sum = |sum: &Sum| serde_json::json!({ "records": sum.records, "checksum": format!("{:032x}", sum.checksum) });
    let partition = |compared: &Compared| {
        let first = compared.first.as_ref();
        serde_json::json!({
            "partition": compared.partition,
            "equal": compared.is_equal(),
            "source": sum(&compared.source),
            "target": sum(&compared.target),
            "others": compared.others,
            "differences": compared.differences,
            "first_difference": first.map(|first| serde_json::json!({ "offset": first.offset, "what": first.what.to_string() })),
        })
    };
    serde_json::json!({
        "topic": copied.topic.as_str(),
        "created": copied.is_created,
        "epoch": copied.epoch.to_string(),
        "copied": copied.records,
        "timestamps_kept": copied.keeps_timestamps,
        "equal": copied.is_equal(),
        "partitions": copied.partitions.iter().map(partition).collect::<Vec<_>>(),
    })
}
