//! The beginning of a subscription: what its reply says, and what of the past comes with it.
//!
//! A client that was away is given what it missed: up to a limit in the reply, the rest behind it. If that cannot be had
//! it is told so and stands at a new place. It never gets a part of what it missed as if it were all.

use super::SessionSettings;
use super::place::{self, Asked};
use crate::protocol::Refusal;
use crate::protocol::command::{self, Position};
use crate::protocol::reply::Subscribed;
use dualstream_core::channel::Target;
use dualstream_core::hub::{Allowance, Hub, Item, Mode, OnUnrecoverable, Start, Subscribe, Subscription};
use std::sync::Arc;
use tokio::time::Instant;

/// How the items of a subscription are shown to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Events of one channel.
    Channel,
    /// Events of a pattern.
    Pattern,
    /// Announcements, or messages that are not stored, of one channel. No positions.
    Live,
    /// The same of a pattern.
    LivePattern,
}

impl Form {
    /// Whether its publications have positions, so that a client can come back to them.
    pub fn is_recoverable(self) -> bool {
        matches!(self, Form::Channel | Form::Pattern)
    }
}

/// A subscription that is ready to be answered.
pub struct Opened {
    /// The subscription.
    pub subscription: Subscription,
    /// How it is shown.
    pub form: Form,
    /// Its reply.
    pub reply: Subscribed,
    /// Publications of the reply.
    pub missed: Vec<Item>,
    /// What follows the reply at once.
    pub rest: Vec<Item>,
    /// Token of the place the client stands at after all these.
    pub token: Arc<str>,
}

/// Opens a subscription.
///
/// # Errors
/// Why it is refused.
pub async fn open(
    hub: &Hub,
    allowance: &Arc<Allowance>,
    target: &Target,
    wanted: &command::Subscribe,
    settings: &SessionSettings,
) -> Result<Opened, Refusal> {
    let deadline = Instant::now() + settings.answer_max;
    let within = tokio::time::timeout_at(deadline, begin(hub, allowance, target, wanted)).await;
    let (mut subscription, form, is_void) = within.map_err(|_| Refusal::Internal)??;
    let began = subscription.resume();
    let was_recovering = wanted.recover.is_some();
    let may_recover = was_recovering && !is_void && form.is_recoverable();
    let past = match may_recover {
        true => Past::read(&mut subscription, settings, deadline).await,
        false => Past::default(),
    };
    let recovered = may_recover && past.lost.is_none();
    if wanted.rejects_unrecovered && was_recovering && !recovered {
        return Err(Refusal::UnrecoverablePosition);
    }
    // With nothing missed it is the end, so that the place of a quiet channel does not age.
    let stands = match (&past.lost, past.missed.is_empty()) {
        (Some(lost), _) => lost.clone(),
        (None, true) => subscription.resume(),
        (None, false) => began,
    };
    let last = past.missed.iter().chain(&past.rest).rev().find_map(|item| match item {
        Item::Event { resume, .. } => Some(resume.clone()),
        _ => None,
    });
    let position = match form.is_recoverable() {
        false => None,
        true => Some(place::of_token(&stands).ok_or(Refusal::Internal)?),
    };
    let reply = Subscribed { position, was_recovering, recovered };
    let token = last.unwrap_or(stands);
    Ok(Opened { subscription, form, reply, missed: past.missed, rest: past.rest, token })
}

/// The subscription, and whether the place asked for is none.
async fn begin(
    hub: &Hub,
    allowance: &Arc<Allowance>,
    target: &Target,
    wanted: &command::Subscribe,
) -> Result<(Subscription, Form, bool), Refusal> {
    let refuse = |error| Refusal::from(&error);
    let is_durable = hub.namespaces().of(target.as_str()).map_err(refuse)?.is_durable();
    let (form, mode) = match (is_durable && !wanted.live, target) {
        (false, Target::Channel(_)) => (Form::Live, Mode::Live),
        (false, Target::Pattern(_)) => (Form::LivePattern, Mode::Live),
        (true, Target::Channel(_)) => (Form::Channel, Mode::Reliable),
        (true, Target::Pattern(_)) => (Form::Pattern, Mode::Reliable),
    };
    let asked = match &wanted.recover {
        Some(position) if form.is_recoverable() => asked(hub, target, position)?,
        _ => Asked::At(Start::Latest),
    };
    let (start, is_void) = match asked {
        Asked::At(start) => (start, false),
        Asked::Void => (Start::Latest, true),
    };
    let targets = vec![target.clone()];
    let request = Subscribe { targets, mode, start, on_unrecoverable: OnUnrecoverable::Latest };
    Ok((hub.subscribe_within(allowance, request).await.map_err(refuse)?, form, is_void))
}

fn asked(hub: &Hub, target: &Target, position: &Position) -> Result<Asked, Refusal> {
    let (_, latest) = hub.ends(target).map_err(|error| Refusal::from(&error))?;
    Ok(latest.0.first().map_or(Asked::Void, |latest| place::asked(position, latest)))
}

/// What a client missed.
#[derive(Default)]
struct Past {
    missed: Vec<Item>,
    rest: Vec<Item>,
    /// Where it stands if what it missed cannot be had.
    lost: Option<Arc<str>>,
}

impl Past {
    async fn read(subscription: &mut Subscription, settings: &SessionSettings, deadline: Instant) -> Past {
        let (mut past, mut bytes) = (Past::default(), 0);
        while past.missed.len() < settings.recovery_publications_max && bytes < settings.recovery_bytes_max {
            let ready = subscription.ready(settings.recovery_bytes_max - bytes);
            // What is not there in time follows the reply.
            let Ok(items) = tokio::time::timeout_at(deadline, ready).await else { break };
            if items.is_empty() {
                break;
            }
            for item in items {
                match item {
                    Item::Unrecoverable { resume, .. } => {
                        past = Past { lost: Some(resume), ..Past::default() };
                    }
                    item if past.lost.is_some() => past.rest.push(item),
                    Item::Event { entry, resume } => {
                        bytes += entry.wire.json.len();
                        past.missed.push(Item::Event { entry, resume });
                    }
                    Item::Announcement(_) | Item::Message(_) | Item::Lost(_) => {}
                }
            }
            if past.lost.is_some() {
                break;
            }
        }
        if past.missed.len() > settings.recovery_publications_max {
            past.rest = past.missed.split_off(settings.recovery_publications_max);
        }
        past
    }
}
