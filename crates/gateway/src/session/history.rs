//! `history` of the client protocol: the end of a channel, and pages of what it holds.

use super::SessionSettings;
use super::place;
use crate::protocol::Refusal;
use crate::protocol::command::{self, Position};
use crate::protocol::publication;
use dualstream_core::channel::Target;
use dualstream_core::hub::{History, Hub, Since};
use dualstream_core::position::{Cursor, Next, Resume};

/// The end of the channel, and the publications asked for, joined by commas.
///
/// # Errors
/// Why it is refused.
pub async fn read(
    hub: &Hub,
    target: &Target,
    wanted: &command::History,
    settings: &SessionSettings,
) -> Result<(Position, Vec<u8>), Refusal> {
    let refuse = |error| Refusal::from(&error);
    if !hub.namespaces().of(target.as_str()).map_err(refuse)?.is_durable() {
        return Err(Refusal::NotAvailable);
    }
    let (_, latest) = hub.ends(target).map_err(refuse)?;
    let latest = latest.0.into_iter().next().ok_or(Refusal::Internal)?;
    let since = since(wanted, &latest)?;
    let max = settings.history_publications_max;
    let limit = usize::try_from(wanted.limit).map_or(max, |limit| limit.min(max));
    let Some(since) = since.filter(|_| limit > 0) else {
        return Ok((place::of_cursor(&latest), Vec::new()));
    };
    let request = History { target: target.clone(), since, limit, reverse: wanted.reverse };
    let page = tokio::time::timeout(settings.answer_max, hub.history(request)).await;
    let page = page.map_err(|_| Refusal::Internal)?.map_err(|error| match error.code() {
        "position_from_future" => Refusal::UnrecoverablePosition,
        _ => refuse(error),
    })?;
    let top = page.latest.0.first().map_or_else(Position::default, place::of_cursor);
    let mut publications = Vec::new();
    for entry in &page.entries {
        if !publications.is_empty() {
            publications.push(b',');
        }
        publication::push_event(&mut publications, entry);
    }
    Ok((top, publications))
}

/// Where to begin. `None`: there is nothing there.
fn since(wanted: &command::History, latest: &Cursor) -> Result<Option<Since>, Refusal> {
    let Some(position) = &wanted.since else {
        return Ok(Some(if wanted.reverse { Since::Latest } else { Since::Earliest }));
    };
    let mut cursor = place::cursor(position, latest).ok_or(Refusal::UnrecoverablePosition)?;
    if cursor.epoch != latest.epoch {
        return Err(Refusal::UnrecoverablePosition);
    }
    let Next::One { offset, .. } = &mut cursor.next else { return Err(Refusal::NotAvailable) };
    match (wanted.reverse, *offset) {
        (false, 0) => Ok(Some(Since::Earliest)),
        (true, 0 | 1) => Ok(None),
        (true, _) => {
            // The publication at the position itself is not before it.
            *offset -= 1;
            Ok(Some(Since::At(Resume(vec![cursor]))))
        }
        (false, _) => Ok(Some(Since::At(Resume(vec![cursor])))),
    }
}
