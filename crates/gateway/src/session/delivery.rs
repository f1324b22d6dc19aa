//! From the items of subscriptions to lines of a frame.

use super::opening::Form;
use super::place;
use super::subscriptions::{Follower, Pulled};
use super::{End, Session};
use crate::protocol::{Disconnect, publication};
use crate::{sse, stream};
use dualstream_core::hub::{Hub, Item};
use dualstream_core::position::{Cursor, Next};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

impl Session {
    /// Writes what came for a subscription, and lets it be pulled again.
    pub(super) fn deliver(&mut self, pulled: Pulled) -> Result<(), End> {
        let Pulled { follower, items } = pulled;
        match items {
            // The hub was closed.
            Some(items) if items.is_empty() => Err(Disconnect::Shutdown.into()),
            Some(items) => self.push_all(follower, &items),
            None if is_aging(&self.app.hub, &follower, self.app.settings.session.place_age_max) => {
                self.renew(&follower);
                Ok(())
            }
            None => {
                self.subscriptions.follow(follower);
                Ok(())
            }
        }
    }

    /// Writes pushes of a subscription, and lets it be pulled again.
    pub(super) fn push_all(&mut self, mut follower: Follower, items: &[Item]) -> Result<(), End> {
        stream::note_latency(&self.app.hub, self.began_ms, items);
        for item in items {
            match item {
                Item::Lost(_) => return Err(Disconnect::Slow.into()),
                Item::Unrecoverable { .. } => {
                    self.renew(&follower);
                    return Ok(());
                }
                item => {
                    let mut replies = self.replies();
                    let out = replies.line_of(&follower.head);
                    push(out, follower.form, item)?;
                    out.extend_from_slice(b"}}");
                }
            }
        }
        if let Some(Item::Event { resume, .. }) = items.last() {
            follower.told = (resume.clone(), Instant::now());
        }
        self.subscriptions.follow(follower);
        Ok(())
    }

    /// Lets the client subscribe again, from the place it holds: it is told what it missed, or that this cannot be had,
    /// or where the end is now.
    fn renew(&mut self, follower: &Follower) {
        self.subscriptions.remove(&follower.channel);
        self.replies().insufficient_state(&follower.channel);
    }

    /// Publications joined by commas.
    pub(super) fn publications(&self, form: Form, items: &[Item]) -> Result<Vec<u8>, End> {
        let mut out = Vec::with_capacity(items.iter().map(sse::size).sum());
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            push(&mut out, form, item)?;
        }
        Ok(out)
    }
}

fn push(out: &mut Vec<u8>, form: Form, item: &Item) -> Result<(), End> {
    match (form, item) {
        (Form::Channel, Item::Event { entry, .. }) => publication::push_event(out, entry),
        (Form::Pattern, Item::Event { entry, resume }) => {
            let place = place::of_token(resume).ok_or(Disconnect::Internal)?;
            publication::push_event_of_pattern(out, entry, &place);
        }
        (Form::Live, Item::Announcement(live) | Item::Message(live)) => publication::push_live(out, live),
        (Form::LivePattern, Item::Announcement(live) | Item::Message(live)) => {
            publication::push_live_of_pattern(out, live);
        }
        // The hub gives announcements to live subscriptions only, and events to no other.
        _ => return Err(Disconnect::Internal.into()),
    }
    Ok(())
}

/// Whether the place the client holds of a quiet channel would be lost by and by, though it missed nothing: it is old,
/// or in the lower half of what is kept of a partition in which retention has begun.
fn is_aging(hub: &Hub, follower: &Follower, age_max: Duration) -> bool {
    let (told, at): &(Arc<str>, Instant) = &follower.told;
    if !follower.form.is_recoverable() || follower.subscription.resume() == *told {
        return false;
    }
    let ends = || {
        let (earliest, latest) = hub.ends(&follower.target).ok()?;
        let told: Cursor = told.parse().ok()?;
        Some((told, earliest.0.into_iter().next()?, latest.0.into_iter().next()?))
    };
    at.elapsed() >= age_max
        || ends().is_some_and(|(told, earliest, latest)| is_low(&told, &earliest, &latest))
}

fn is_low(told: &Cursor, earliest: &Cursor, latest: &Cursor) -> bool {
    let low = |told: u64, earliest: u64, latest: u64| {
        earliest > 0 && told < latest && told.saturating_sub(earliest) <= (latest - earliest.min(latest)) / 2
    };
    match (&told.next, &earliest.next, &latest.next) {
        (
            Next::One { offset: told, .. },
            Next::One { offset: earliest, .. },
            Next::One { offset: latest, .. },
        ) => low(*told, *earliest, *latest),
        (Next::All(told), Next::All(earliest), Next::All(latest)) => told
            .iter()
            .zip(earliest)
            .zip(latest)
            .any(|((told, earliest), latest)| low(*told, *earliest, *latest)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream_core::topic::Epoch;

    #[test]
    fn a_place_is_low_in_the_lower_half_of_what_is_kept() {
        let one = |offset| Cursor { epoch: Epoch(1), next: Next::One { partition: 0, offset } };
        let all = |offset| Cursor { epoch: Epoch(1), next: Next::All(vec![7, offset]) };
        for (told, earliest, latest, wanted) in [
            (50, 0, 100, false),
            (140, 100, 200, true),
            (90, 100, 200, true),
            (151, 100, 200, false),
            (100, 100, 100, false),
        ] {
            assert_eq!(is_low(&one(told), &one(earliest), &one(latest)), wanted, "{told}");
            assert_eq!(is_low(&all(told), &all(earliest), &all(latest)), wanted, "{told}");
        }
    }
}
