//! Transactions of the embedded log: a buffer until they commit, then one guarded commit like any other.

use crate::embedded::EmbeddedLog;
use crate::queue::weight;
use bytes::Bytes;
use dualstream_core::log::{Commit, Committed, GUARDS_TOPIC, Guard, Log, Part};
use dualstream_core::record::NewRecord;
use dualstream_core::topic::{TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_core::transaction::{COMMIT_BYTES_MAX, Transaction, Transactions};
use dualstream_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;

/// How often raising a guard is tried against others who raise it at the same time.
const RAISE_TRIES: usize = 100;
/// Longest name of an owner in bytes.
const NAME_BYTES_MAX: usize = 255;

impl Transactions for EmbeddedLog {
    fn begin<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn Transaction>>> {
        async move {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(Error::invalid("invalid_name", "name", "the owner's name is 1 to 255 bytes")
                    .with_limit(NAME_BYTES_MAX as u64));
            }
            let guard = self.raise(name).await?;
            let open = Open { log: self.clone(), guard, parts: Vec::new(), bytes: 0 };
            Ok(Box::new(open) as Box<dyn Transaction>)
        }
        .boxed()
    }
}

impl EmbeddedLog {
    /// Raises a guard: whoever held it is fenced.
    async fn raise(&self, name: &str) -> Result<Guard> {
        let topic = TopicName::new(GUARDS_TOPIC)?;
        match self.create(TopicSpec::table(topic.clone(), 1)).await {
            Err(error) if error.code() != "topic_exists" => return Err(error),
            _ => {}
        }
        let name: Arc<str> = name.into();
        let mut current = 0;
        for _ in 0..RAISE_TRIES {
            let record = NewRecord {
                key: Some(Bytes::copy_from_slice(name.as_bytes())),
                value: Some(Bytes::copy_from_slice(&(current + 1_u64).to_be_bytes())),
                ..NewRecord::default()
            };
            let part = Part { topic: topic.clone(), partition: 0, records: vec![record] };
            let guard = Some(Guard { name: name.clone(), epoch: current });
            match self.commit(Commit { parts: vec![part], guard }).await {
                Ok(_) => return Ok(Guard { name, epoch: current + 1 }),
                Err(error) if error.kind() == ErrorKind::Fenced => current = error.limit().unwrap_or(current),
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(
            ErrorKind::Limited,
            "guard_contended",
            "too many owners begin under this name at once",
        ))
    }
}

/// An open transaction.
struct Open {
    log: EmbeddedLog,
    guard: Guard,
    parts: Vec<Part>,
    bytes: usize,
}

impl Transaction for Open {
    fn append(&mut self, part: Part) -> Result<()> {
        let bytes = self.bytes + weight(std::slice::from_ref(&part));
        if bytes > COMMIT_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "transaction_too_large",
                format!("the transaction would hold {bytes} bytes; the limit is {COMMIT_BYTES_MAX}"),
            )
            .with_limit(COMMIT_BYTES_MAX as u64));
        }
        self.bytes = bytes;
        self.parts.push(part);
        Ok(())
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<Committed>> {
        let Open { log, guard, parts, .. } = *self;
        async move { log.commit(Commit { parts, guard: Some(guard) }).await }.boxed()
    }

    fn abort(self: Box<Self>) {}
}
