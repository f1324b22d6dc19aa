//! What a client sends: one JSON object a line, read strictly.
//!
//! A line that is no command at all ends the connection ([`Undecodable`]). A command whose parts are wrong, but that can
//! be answered, is [`Request::Malformed`].

use crate::json::{self, Field, Value};
use bytes::Bytes;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its number: the reply carries it.
    pub id: u32,
    /// What it asks for.
    pub request: Request,
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The first command of a connection.
    Connect(Connect),
    /// To follow a channel or pattern.
    Subscribe(Subscribe),
    /// To follow it no more.
    Unsubscribe {
        /// The channel or pattern.
        channel: String,
    },
    /// To send a message to a channel.
    Publish(Publish),
    /// To read what a channel holds.
    History(History),
    /// A message to the server, without a reply.
    Send,
    /// The answer to a ping.
    Pong,
    /// A command of the protocol that is not offered here.
    NotOffered,
    /// No command of the protocol.
    Unknown,
    /// A part of it is not what it has to be.
    Malformed {
        /// Whether it is a `connect`.
        is_connect: bool,
    },
}

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    /// Name of its program or library.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A subscription asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    /// The channel or pattern.
    pub channel: String,
    /// Where to go on, if it is to go on somewhere.
    pub recover: Option<Position>,
    /// Announcements instead of events.
    pub live: bool,
    /// An attempt to recover that fails is to be an error (flag bit 2).
    pub rejects_unrecovered: bool,
    /// It asks for a kind of subscription or a filter that is not offered here.
    pub is_special: bool,
}

/// A place in a channel, as a client holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Rises with every publication.
    pub offset: u64,
    /// What the offset is to be read with.
    pub epoch: String,
}

/// A message to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The channel.
    pub channel: String,
    /// Compact JSON.
    pub data: Bytes,
    /// It asks for a kind of publication that is not offered here.
    pub is_special: bool,
}

/// A page of history asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The channel.
    pub channel: String,
    /// Most publications: none for 0, as many as may be for −1.
    pub limit: i32,
    /// Where to begin.
    pub since: Option<Position>,
    /// Newest first.
    pub reverse: bool,
}

/// A line that is no command: not a JSON object, or its `id` no number of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

/// A part of a command that is not what it has to be.
struct Malformed;

/// Most bytes that are kept of what a client says of itself.
const SAID_BYTES_MAX: usize = 128;
/// Flag of a subscription: an attempt to recover that fails is an error.
const REJECT_UNRECOVERED: i64 = 2;

type Parse = fn(&Members<'_>, &Bytes) -> Result<Request, Malformed>;

/// The commands, in the order in which they are looked for: a command holds the first of these that is there.
const COMMANDS: [(&str, Parse); 12] = [
    ("connect", connect),
    ("subscribe", subscribe),
    ("unsubscribe", |members, _| Ok(Request::Unsubscribe { channel: members.text("channel")? })),
    ("publish", publish),
    ("presence", |_, _| Ok(Request::NotOffered)),
    ("presence_stats", |_, _| Ok(Request::NotOffered)),
    ("history", history),
    ("ping", |_, _| Ok(Request::NotOffered)),
    ("send", |_, _| Ok(Request::Send)),
    ("rpc", |_, _| Ok(Request::NotOffered)),
    ("refresh", |_, _| Ok(Request::NotOffered)),
    ("sub_refresh", |_, _| Ok(Request::NotOffered)),
];

impl Command {
    /// Reads a line.
    ///
    /// # Errors
    /// [`Undecodable`].
    pub fn decode(line: &Bytes) -> Result<Command, Undecodable> {
        let members = Members(json::object(line).map_err(|_| Undecodable)?);
        let id = members.number::<u32>("id").map_err(|_| Undecodable)?;
        let found = COMMANDS.iter().find_map(|(name, parse)| Some((*name, parse, members.get(name)?)));
        let request = match found {
            Some(("send", ..)) if id == 0 => Request::Send,
            _ if id == 0 => Request::Pong,
            None => Request::Unknown,
            Some((name, parse, value)) => json::object(value.text().as_bytes())
                .map_err(|_| Malformed)
                .and_then(|fields| parse(&Members(fields), line))
                .unwrap_or(Request::Malformed { is_connect: name == "connect" }),
        };
        Ok(Command { id, request })
    }
}

/// What it says of itself is for lists only: of another type it is nothing said, and the end of much is left out.
fn connect(members: &Members<'_>, _: &Bytes) -> Result<Request, Malformed> {
    let said = |name| {
        let mut text = members.text(name).unwrap_or_default();
        text.truncate(text.floor_char_boundary(SAID_BYTES_MAX));
        text
    };
    Ok(Request::Connect(Connect { name: said("name"), version: said("version") }))
}

fn subscribe(members: &Members<'_>, _: &Bytes) -> Result<Request, Malformed> {
    let position = members.position()?;
    let is_special = members.number::<i64>("type")? != 0 || members.get("tf").is_some();
    Ok(Request::Subscribe(Subscribe {
        channel: members.text("channel")?,
        recover: members.flag("recover")?.then_some(position),
        live: is_live(members)?,
        rejects_unrecovered: members.number::<i64>("flag")? & REJECT_UNRECOVERED != 0,
        is_special,
    }))
}

/// `"data":{"mode":"live"}`; data of another form is the application's own.
fn is_live(members: &Members<'_>) -> Result<bool, Malformed> {
    let Some(data) = members.get("data").filter(|data| data.text().starts_with('{')) else {
        return Ok(false);
    };
    let data = Members(json::object(data.text().as_bytes()).map_err(|_| Malformed)?);
    match data.text("mode")?.as_str() {
        "live" => Ok(true),
        "" | "reliable" => Ok(false),
        _ => Err(Malformed),
    }
}

fn publish(members: &Members<'_>, line: &Bytes) -> Result<Request, Malformed> {
    let is_special = members.number::<i64>("type")? != 0 || members.flag("removed")?;
    let channel = members.text("channel")?;
    let data = members.0.iter().find(|field| field.name == "data").ok_or(Malformed)?;
    Ok(Request::Publish(Publish { channel, data: data.value.compact(line), is_special }))
}

fn history(members: &Members<'_>, _: &Bytes) -> Result<Request, Malformed> {
    let since = members.get("since").map(|since| {
        json::object(since.text().as_bytes()).map_err(|_| Malformed).and_then(|f| Members(f).position())
    });
    Ok(Request::History(History {
        channel: members.text("channel")?,
        limit: members.number("limit")?,
        since: since.transpose()?,
        reverse: members.flag("reverse")?,
    }))
}

/// Members of an object. One that is absent or `null` has its type's zero value.
struct Members<'a>(Vec<Field<'a>>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<Value<'a>> {
        let field = self.0.iter().find(|field| field.name == name)?;
        (!field.value.is_null()).then_some(field.value)
    }

    fn text(&self, name: &str) -> Result<String, Malformed> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(value) => value.as_string().map(String::from).ok_or(Malformed),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Malformed> {
        match self.get(name).map(|value| value.text()) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Malformed),
        }
    }

    /// An integer: no fraction, no exponent, in the range of its type.
    fn number<T: std::str::FromStr + Default>(&self, name: &str) -> Result<T, Malformed> {
        match self.get(name) {
            None => Ok(T::default()),
            Some(value) => value.text().parse().map_err(|_| Malformed),
        }
    }

    fn position(&self) -> Result<Position, Malformed> {
        Ok(Position { offset: self.number("offset")?, epoch: self.text("epoch")? })
    }
}

#[cfg(test)]
mod tests;
