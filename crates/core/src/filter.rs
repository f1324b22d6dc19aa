//! Which records of a topic a reader wants, by source.
//!
//! The *source* of a record is `source_type:source_id`: its `source_type` header and its key. A channel or pattern of
//! a namespace is a source or a prefix of sources in the namespace's topic (see [`crate::namespace`]), so logs and
//! their indexes know sources only.

use crate::record::{Headers, Record};
use std::collections::BTreeSet;

/// Header that holds an event's source type.
pub const SOURCE_TYPE_HEADER: &str = "source_type";

/// A set of sources: everything, or some sources and prefixes of sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every record, with or without a source.
    All,
    /// Records whose source is one of these or begins with one of the prefixes.
    Sources {
        /// Whole sources, `type:id`.
        exact: BTreeSet<String>,
        /// Prefixes of sources, each ending with `:`.
        prefixes: Vec<String>,
    },
}

impl Filter {
    /// One source.
    pub fn source(source: impl Into<String>) -> Filter {
        Filter::Sources { exact: BTreeSet::from([source.into()]), prefixes: Vec::new() }
    }

    /// All sources that begin with `prefix`; every record that has a source when it is empty.
    pub fn prefix(prefix: impl Into<String>) -> Filter {
        Filter::Sources { exact: BTreeSet::new(), prefixes: vec![prefix.into()] }
    }

    /// What either wants.
    pub fn union(self, other: Filter) -> Filter {
        match (self, other) {
            (
                Filter::Sources { mut exact, mut prefixes },
                Filter::Sources { exact: more, prefixes: more_prefixes },
            ) => {
                exact.extend(more);
                prefixes.extend(more_prefixes);
                Filter::Sources { exact, prefixes }
            }
            _ => Filter::All,
        }
    }

    /// Whether the source `source_type:source_id` is wanted.
    pub fn matches(&self, source_type: &[u8], source_id: &[u8]) -> bool {
        match self {
            Filter::All => true,
            Filter::Sources { exact, prefixes } => {
                prefixes.iter().any(|p| begins_with(source_type, source_id, p.as_bytes()))
                    || exact.iter().any(|e| is_source(source_type, source_id, e.as_bytes()))
            }
        }
    }

    /// Whether a whole source, as in an index, is wanted.
    pub fn matches_source(&self, source: &[u8]) -> bool {
        match self {
            Filter::All => true,
            Filter::Sources { exact, prefixes } => {
                prefixes.iter().any(|p| source.starts_with(p.as_bytes()))
                    || std::str::from_utf8(source).is_ok_and(|s| exact.contains(s))
            }
        }
    }

    /// Whether a record is wanted.
    pub fn matches_record(&self, record: &Record) -> bool {
        match (self, source_of(&record.headers, record.key.as_deref())) {
            (Filter::All, _) => true,
            (_, Some((source_type, source_id))) => self.matches(source_type, source_id),
            (_, None) => false,
        }
    }
}

/// `(source_type, source_id)` of a record with these headers and key; `None` for one that is no event.
pub fn source_of<'a>(headers: &'a Headers, key: Option<&'a [u8]>) -> Option<(&'a [u8], &'a [u8])> {
    Some((headers.get(SOURCE_TYPE_HEADER)?.as_ref(), key?))
}

fn is_source(source_type: &[u8], source_id: &[u8], whole: &[u8]) -> bool {
    whole.len() == source_type.len() + 1 + source_id.len()
        && whole[source_type.len()] == b':'
        && whole.starts_with(source_type)
        && whole.ends_with(source_id)
}

fn begins_with(source_type: &[u8], source_id: &[u8], prefix: &[u8]) -> bool {
    match prefix.len() <= source_type.len() {
        true => source_type.starts_with(prefix),
        false => {
            let (head, tail) = prefix.split_at(source_type.len());
            head == source_type && tail[0] == b':' && source_id.starts_with(&tail[1..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_form_agrees_with_whole_form() {
        let sources = [("user", "octocat"), ("user", "a:b"), ("users", "x"), ("repo", "o/r"), ("u", "ser:x")];
        let filters = [
            Filter::All,
            Filter::source("user:octocat"),
            Filter::source("user:a:b"),
            Filter::prefix("user:"),
            Filter::prefix("user:a:"),
            Filter::prefix(""),
            Filter::prefix("repo:").union(Filter::source("users:x")),
        ];
        for (t, id) in sources {
            for filter in &filters {
                let whole = format!("{t}:{id}");
                assert_eq!(
                    filter.matches(t.as_bytes(), id.as_bytes()),
                    filter.matches_source(whole.as_bytes()),
                    "{whole} {filter:?}"
                );
            }
        }
        assert!(!Filter::prefix("user:").matches(b"users", b"x"));
    }
}
