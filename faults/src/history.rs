//! What a node says of a whole topic, for the history checker.

use crate::Node;
use crate::http::Connection;
use anyhow::{Context, Result, ensure};
use dualstream_checker::{FullRead, Place, Recorder, value_crc};
use dualstream_core::position::Position;
use serde_json::Value;

const PARTITIONS: usize = 12;

/// Reads all events of a namespace on a node, page by page, as a full read of its topic. How many it met.
///
/// # Errors
/// When the node does not answer, or there are no events.
pub async fn read_all(recorder: &Recorder, node: &Node, namespace: &str, topic: &str) -> Result<usize> {
    let mut connection = Connection::open(node.address).await?;
    let mut since = "earliest".to_owned();
    let mut read: Option<FullRead> = None;
    let (mut ends, mut count) = (vec![0; PARTITIONS], 0);
    loop {
        let path = format!("/v1/channels/{namespace}:*/events?since={since}&limit=1000");
        let response = connection.get(&path).await?;
        let said = String::from_utf8_lossy(response.body());
        ensure!(response.status() == 200, "a page of the history was answered {}: {said}", response.status());
        let page: Value = serde_json::from_slice(response.body())?;
        for event in page["events"].as_array().context("a page has events")? {
            let text = |name: &str| event[name].as_str().with_context(|| format!("an event has {name}"));
            let position: Position = text("position")?.parse().map_err(anyhow::Error::new)?;
            let Position { epoch, partition, offset } = position;
            let read = read.get_or_insert_with(|| {
                let name = format!("{}-{topic}-history", node.name);
                recorder.full_read(&name, &node.name, topic, epoch.0, &[0; PARTITIONS])
            });
            let key = format!("{}:{}", text("source_type")?, text("source_id")?);
            let place = Place { epoch: epoch.0, partition, offset };
            read.met(text("id")?, &key, value_crc(event["data"].to_string().as_bytes()), place);
            ends[partition as usize] = offset + 1;
            count += 1;
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut since),
            None => break,
        }
    }
    read.context("the topic has no events")?.ends(&ends);
    Ok(count)
}
