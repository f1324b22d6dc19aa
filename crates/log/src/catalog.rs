//! The catalog: which topics there are, and the format of the data directory. A small text file an operator can read,
//! replaced whole on every change.
//!
//! ```text
//! dualstream-log 2
//! log 5f0c… next_topic_id=3
//! topic 1 events epoch=9a41… partitions=12 timestamp=append cleanup=delete retention_ms=604800000 retention_bytes=- trimmed=0,0,…
//! crc 1c0ffee1
//! ```
//! That of a mirror begins with `dualstream-mirror`: a directory of one kind is never opened as the other.

use crate::batch::crc32c;
use crate::replace::{load, replace};
use crate::storage::Storage;
use dualstream_core::topic::{Cleanup, Epoch, TimestampKind, TopicName, TopicSpec};
use dualstream_core::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::str::FromStr;

/// Version of the data directory's format: what is written. Every older one is read.
///
/// 2: the checkpoint holds the start of each partition.
pub(crate) const FORMAT_VERSION: u32 = 2;
const PATH: &str = "catalog";

/// What a data directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A log, with the journal that decides what is in it.
    Log,
    /// A copy of a log that stands elsewhere.
    Mirror,
}

impl Kind {
    /// What a catalog of it begins with.
    fn word(self) -> &'static str {
        match self {
            Kind::Log => "dualstream-log",
            Kind::Mirror => "dualstream-mirror",
        }
    }

    /// The directory holds this, and was opened as the other.
    pub fn refuse(self) -> Error {
        let message = match self {
            Kind::Log => "the directory holds a log, not a mirror of one; nothing in it was changed",
            Kind::Mirror => {
                "the directory holds a mirror of a log that stands elsewhere, not a log; nothing in it was changed"
            }
        };
        Error::invalid("data_dir_other_kind", "data_dir", message)
    }
}

/// All topics of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Catalog {
    pub kind: Kind,
    /// Format of the directory it was read from.
    pub format: u32,
    /// Random number of this log.
    pub log_id: u64,
    /// Id the next topic gets; ids are not reused.
    pub next_topic_id: u32,
    /// Topics by id.
    pub topics: BTreeMap<u32, Entry>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub spec: TopicSpec,
    pub epoch: Epoch,
    /// Per partition the offset below which records were trimmed.
    pub trimmed: Vec<u64>,
}

impl Catalog {
    /// A catalog without topics.
    pub fn new(kind: Kind, log_id: u64) -> Catalog {
        Catalog { kind, format: FORMAT_VERSION, log_id, next_topic_id: 1, topics: BTreeMap::new() }
    }

    /// Reads the catalog of a directory of this kind; `None` in a fresh one.
    ///
    /// # Errors
    /// `data_dir_other_kind`, `data_dir_newer_format`, `catalog_damaged`, `storage_error`.
    pub fn load(storage: &dyn Storage, kind: Kind) -> Result<Option<Catalog>> {
        match Catalog::load_any(storage)? {
            Some(catalog) if catalog.kind != kind => Err(catalog.kind.refuse()),
            catalog => Ok(catalog),
        }
    }

    /// Reads the catalog of a directory of either kind; `None` in a fresh one.
    ///
    /// # Errors
    /// `data_dir_newer_format`, `catalog_damaged`, `storage_error`.
    pub fn load_any(storage: &dyn Storage) -> Result<Option<Catalog>> {
        let bytes = load(storage, PATH).map_err(|e| crate::error::storage("read the catalog", e))?;
        bytes.map(|bytes| parse(&bytes)).transpose()
    }

    /// Replaces the stored catalog.
    ///
    /// # Errors
    /// `storage_error`, `storage_full`.
    pub fn store(&self, storage: &dyn Storage) -> Result<()> {
        self.try_store(storage).map_err(|e| crate::error::storage("write the catalog", e))
    }

    /// As [`store`](Catalog::store), for callers who tell errors apart.
    pub fn try_store(&self, storage: &dyn Storage) -> io::Result<()> {
        replace(storage, PATH, self.print().as_bytes())
    }

    fn print(&self) -> String {
        let mut out = format!(
            "{} {FORMAT_VERSION}\nlog {:016x} next_topic_id={}\n",
            self.kind.word(),
            self.log_id,
            self.next_topic_id
        );
        for (id, entry) in &self.topics {
            let spec = &entry.spec;
            let trimmed: Vec<String> = entry.trimmed.iter().map(u64::to_string).collect();
            let _ = writeln!(
                out,
                "topic {id} {} epoch={} partitions={} timestamp={} cleanup={} retention_ms={} retention_bytes={} trimmed={}",
                spec.name,
                entry.epoch,
                spec.partitions,
                if spec.timestamp == TimestampKind::Append { "append" } else { "create" },
                if spec.cleanup == Cleanup::Delete { "delete" } else { "compact" },
                optional(spec.retention_ms),
                optional(spec.retention_bytes),
                trimmed.join(",")
            );
        }
        let crc = crc32c(out.as_bytes());
        let _ = writeln!(out, "crc {crc:08x}");
        out
    }
}

fn optional(value: Option<u64>) -> String {
    value.map_or("-".into(), |v| v.to_string())
}

fn damaged() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "catalog_damaged",
        "the file 'catalog' in the data directory is damaged; run 'dualstream log repair' or restore a backup",
    )
}

fn parse(bytes: &[u8]) -> Result<Catalog> {
    let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
    let (word, rest) = text.split_once(' ').ok_or_else(damaged)?;
    let kind = [Kind::Log, Kind::Mirror].into_iter().find(|kind| kind.word() == word).ok_or_else(damaged)?;
    let version = rest.split('\n').next().and_then(|v| v.parse().ok());
    let version: u32 = version.ok_or_else(damaged)?;
    if version > FORMAT_VERSION {
        return Err(Error::new(
            ErrorKind::Invalid,
            "data_dir_newer_format",
            format!(
                "the data directory has format {version}, written by a newer dualstream; this one reads up to {FORMAT_VERSION}"
            ),
        ));
    }
    let (body, crc) = text.rsplit_once("crc ").ok_or_else(damaged)?;
    if crc != format!("{:08x}\n", crc32c(body.as_bytes())) {
        return Err(damaged());
    }
    parse_body(kind, version, body).ok_or_else(damaged)
}

fn parse_body(kind: Kind, format: u32, body: &str) -> Option<Catalog> {
    let mut lines = body.lines().skip(1);
    let mut words = lines.next()?.split(' ').skip(1);
    let log_id = u64::from_str_radix(words.next()?, 16).ok()?;
    let next_topic_id = field(words.next()?, "next_topic_id")?.parse().ok()?;
    let topics = lines.map(parse_topic).collect::<Option<_>>()?;
    Some(Catalog { kind, format, log_id, next_topic_id, topics })
}

fn parse_topic(line: &str) -> Option<(u32, Entry)> {
    let mut words = line.strip_prefix("topic ")?.split(' ');
    let id = words.next()?.parse().ok()?;
    let name = TopicName::new(words.next()?).ok()?;
    let epoch = Epoch(u64::from_str_radix(field(words.next()?, "epoch")?, 16).ok()?);
    let partitions = field(words.next()?, "partitions")?.parse().ok()?;
    let timestamp = match field(words.next()?, "timestamp")? {
        "append" => TimestampKind::Append,
        "create" => TimestampKind::Create,
        _ => return None,
    };
    let cleanup = match field(words.next()?, "cleanup")? {
        "delete" => Cleanup::Delete,
        "compact" => Cleanup::Compact,
        _ => return None,
    };
    let retention_ms = parse_optional(field(words.next()?, "retention_ms")?)?;
    let retention_bytes = parse_optional(field(words.next()?, "retention_bytes")?)?;
    let trimmed: Vec<u64> = field(words.next()?, "trimmed")?
        .split(',')
        .map(u64::from_str)
        .collect::<std::result::Result<_, _>>()
        .ok()?;
    let spec = TopicSpec { name, partitions, timestamp, cleanup, retention_ms, retention_bytes };
    (trimmed.len() == partitions as usize).then_some((id, Entry { spec, epoch, trimmed }))
}

fn field<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    word.strip_prefix(name)?.strip_prefix('=')
}

fn parse_optional(text: &str) -> Option<Option<u64>> {
    if text == "-" { Some(None) } else { text.parse().ok().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(kind: Kind) -> Catalog {
        let mut catalog = Catalog::new(kind, 0xfeed);
        for (id, name) in [(1, "events"), (2, "__guards")] {
            let mut spec = TopicSpec::events(TopicName::new(name).unwrap());
            spec.retention_bytes = (id == 1).then_some(77);
            catalog.topics.insert(id, Entry { spec, epoch: Epoch(9), trimmed: vec![u64::from(id); 12] });
        }
        catalog.next_topic_id = 3;
        catalog
    }

    #[test]
    fn round_trip() {
        for kind in [Kind::Log, Kind::Mirror] {
            assert_eq!(parse(catalog(kind).print().as_bytes()).unwrap(), catalog(kind));
        }
    }

    #[test]
    fn damage_and_newer_formats_are_told_apart() {
        let text = catalog(Kind::Log).print();
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] ^= 1;
            let code = parse(&bytes).unwrap_err().code();
            assert!(code == "catalog_damaged" || (i == 15 && code == "data_dir_newer_format"), "{i}: {code}");
        }
        let newer = text.replacen("dualstream-log 2", "dualstream-log 3", 1);
        assert_eq!(parse(newer.as_bytes()).unwrap_err().code(), "data_dir_newer_format");
    }
}
