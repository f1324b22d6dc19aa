//! What a session does with a command, and with work that is done.

use super::opening::{self, Opened};
use super::subscriptions::Follower;
use super::{Arrival, End, Session, Stage, history};
use crate::protocol::command::{self, Connect, Position, Publish};
use crate::protocol::reply::Connected;
use crate::protocol::{Command, Disconnect, Refusal, Request};
use bytes::Bytes;
use dualstream_core::channel::{Channel, Target};
use dualstream_core::registry::Connection;
use futures::FutureExt;
use futures::future::BoxFuture;
use uuid::Uuid;

/// Work that is done.
pub(super) enum Done {
    /// A subscription is open, or refused.
    Opened { id: u32, channel: String, target: Target, opened: Result<Box<Opened>, Refusal> },
    /// A message was published, or refused.
    Published { id: u32, outcome: Result<(), Refusal> },
    /// A page of history was read, or refused.
    Read { id: u32, page: Result<(Position, Vec<u8>), Refusal> },
}

impl Command {
    pub(super) fn is_subscribe(&self) -> bool {
        matches!(self.request, Request::Subscribe(_))
    }

    pub(super) fn is_pong(&self) -> bool {
        self.request == Request::Pong
    }

    /// The channel it names, if it has to name one.
    fn channel(&self) -> Option<&str> {
        match &self.request {
            Request::Subscribe(command::Subscribe { channel, .. })
            | Request::Unsubscribe { channel }
            | Request::Publish(Publish { channel, .. })
            | Request::History(command::History { channel, .. }) => Some(channel),
            _ => None,
        }
    }
}

impl Session {
    /// Carries a command out, or begins to.
    pub(super) fn handle(&mut self, command: Command) -> Result<(), End> {
        if self.stage != Stage::Open {
            return self.connect(&command);
        }
        if command.channel() == Some("") {
            return Err(Disconnect::BadRequest.into());
        }
        let id = command.id;
        let refused = match command.request {
            Request::Connect(_) | Request::Malformed { is_connect: true } => {
                return Err(Disconnect::BadRequest.into());
            }
            Request::Pong => {
                return match !self.arrival.has_frame_pings && self.pings.pong() {
                    true => Ok(()),
                    false => Err(Disconnect::BadRequest.into()),
                };
            }
            Request::Send => Ok(()),
            Request::Subscribe(wanted) => self.subscribe(id, wanted),
            Request::Unsubscribe { channel } => {
                self.subscriptions.remove(&channel);
                self.replies().done(id, "unsubscribe");
                Ok(())
            }
            Request::Publish(publish) => self.publish(id, publish),
            Request::History(wanted) => self.read(id, wanted),
            Request::NotOffered => Err(Refusal::NotAvailable),
            Request::Unknown => Err(Refusal::MethodNotFound),
            Request::Malformed { is_connect: false } => Err(Refusal::BadRequest),
        };
        match refused {
            Ok(()) => Ok(()),
            Err(refusal) => Ok(self.refuse(id, refusal)?),
        }
    }

    /// The first command. Whatever else it is ends the connection.
    fn connect(&mut self, command: &Command) -> Result<(), End> {
        let said = match (self.stage, &command.request) {
            (Stage::Opening, Request::Connect(said)) => said,
            (Stage::Opening, Request::Malformed { is_connect: true }) => {
                self.stage = Stage::Failed;
                return Ok(self.refuse(command.id, Refusal::BadRequest)?);
            }
            _ => return Err(Disconnect::BadRequest.into()),
        };
        self.stage = Stage::Open;
        let client = Uuid::new_v4();
        self.pings.connected((client.as_u128() >> 96) as u32);
        let ping_s = self.app.settings.session.ping_interval.as_secs();
        let (app, Arrival { session, has_frame_pings, .. }) = (self.app.clone(), self.arrival);
        let connected = Connected {
            client: &client.to_string(),
            ping_s: (!has_frame_pings).then_some(ping_s),
            session: &session.to_string(),
            node: app.operations.nodes.own.id.as_str(),
        };
        self.replies().connected(command.id, &connected);
        self.seat = Some(app.clients.join(client, self.shown(client, said)));
        Ok(())
    }

    /// What lists show of the connection.
    fn shown(&self, client: Uuid, said: &Connect) -> Connection {
        Connection {
            client: client.to_string().into(),
            user: "".into(),
            transport: self.arrival.carrier.name().into(),
            protocol: "json".into(),
            name: said.name.as_str().into(),
            version: said.version.as_str().into(),
            connected_ms: self.began_ms,
            remote: self.arrival.peer.map(|peer| peer.to_string().into()),
        }
    }

    fn subscribe(&mut self, id: u32, wanted: command::Subscribe) -> Result<(), Refusal> {
        let settings = &self.app.settings.session;
        if wanted.is_special {
            return Err(Refusal::NotAvailable);
        }
        let target = Target::parse(&wanted.channel).map_err(|error| Refusal::from(&error))?;
        if self.subscriptions.has(&wanted.channel) {
            return Err(Refusal::AlreadySubscribed);
        }
        let is_pattern = matches!(target, Target::Pattern(_));
        if self.subscriptions.count() >= settings.channels_max
            || is_pattern && self.subscriptions.patterns() >= settings.patterns_max
        {
            return Err(Refusal::LimitExceeded);
        }
        self.subscriptions.reserve(&wanted.channel);
        self.is_opening = true;
        let (app, allowance) = (self.app.clone(), self.allowance.clone());
        self.begin(async move {
            let opened = opening::open(&app.hub, &allowance, &target, &wanted, &app.settings.session).await;
            Done::Opened { id, channel: wanted.channel, target, opened: opened.map(Box::new) }
        });
        Ok(())
    }

    fn publish(&mut self, id: u32, publish: Publish) -> Result<(), Refusal> {
        if publish.is_special {
            return Err(Refusal::NotAvailable);
        }
        let channel = Channel::new(&publish.channel).map_err(|error| Refusal::from(&error))?;
        let publisher = self.app.publisher.clone();
        self.is_opening = false;
        self.begin(async move {
            // The line came in a larger frame, which is not to be kept as long as the event.
            let data = Bytes::copy_from_slice(&publish.data);
            let outcome = publisher.send(&channel, data).await;
            let outcome = outcome.map(drop).map_err(|failure| Refusal::from(&failure.error));
            Done::Published { id, outcome }
        });
        Ok(())
    }

    fn read(&mut self, id: u32, wanted: command::History) -> Result<(), Refusal> {
        let channel = Channel::new(&wanted.channel);
        let target = match Target::parse(&wanted.channel).map_err(|error| Refusal::from(&error))? {
            Target::Pattern(_) => return Err(Refusal::NotAvailable),
            Target::Channel(_) => Target::Channel(channel.map_err(|error| Refusal::from(&error))?),
        };
        let app = self.app.clone();
        self.is_opening = false;
        self.begin(async move {
            let page = history::read(&app.hub, &target, &wanted, &app.settings.session).await;
            Done::Read { id, page }
        });
        Ok(())
    }

    fn begin(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        let work: BoxFuture<'static, Done> = work.boxed();
        self.work.push_back(work);
    }

    /// Answers work that is done.
    pub(super) fn finish(&mut self, done: Done) -> Result<(), End> {
        match done {
            Done::Opened { id, channel, target, opened: Ok(opened) } => {
                self.opened(id, channel, target, *opened)
            }
            Done::Opened { id, channel, opened: Err(refusal), .. } => {
                self.subscriptions.remove(&channel);
                if refusal == Refusal::UnrecoverablePosition {
                    self.app.metrics.client_recovered(false);
                }
                Ok(self.refuse(id, refusal)?)
            }
            Done::Published { id, outcome: Ok(()) } => {
                self.replies().done(id, "publish");
                Ok(())
            }
            Done::Read { id, page: Ok((top, publications)) } => {
                self.replies().history(id, &top, &publications);
                Ok(())
            }
            Done::Published { id, outcome: Err(refusal) } | Done::Read { id, page: Err(refusal) } => {
                Ok(self.refuse(id, refusal)?)
            }
        }
    }

    /// Writes the reply, then what follows it, then lets the subscription be pulled.
    fn opened(&mut self, id: u32, channel: String, target: Target, opened: Opened) -> Result<(), End> {
        let Opened { subscription, form, reply, missed, rest, token } = opened;
        if reply.was_recovering {
            self.app.metrics.client_recovered(reply.recovered);
        }
        let publications = self.publications(form, &missed)?;
        self.replies().subscribed(id, &reply, &publications);
        let open = self.app.metrics.subscription_opened();
        let follower = Follower::new(subscription, target, channel, form, token, open);
        self.push_all(follower, &rest)
    }
}
