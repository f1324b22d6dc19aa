//! How a value that was given becomes a setting: one [`Slot`] per kind of setting.

use super::problem::quote;
use super::{Brokers, Fsync, Hosts, Period, Size, SlowClient};
use dualstream_core::channel::check_source_type;
use dualstream_core::conflation::ConflateKey;
use dualstream_core::namespace::{ChannelFrom, Stream};
use dualstream_core::topic::TopicName;
use dualstream_log::Compression;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A value as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// How it was written.
    pub form: Form,
    /// Its text, without quotes.
    pub text: String,
}

/// How a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// On a command line or in the environment, where everything is text.
    Text,
    /// A string in a file.
    String,
    /// A whole number in a file.
    Integer,
    /// `true` or `false` in a file.
    Boolean,
    /// An array of strings in a file, as text joined by `,`.
    Strings,
    /// Anything else in a file, with its name.
    Other(&'static str),
}

impl Given {
    /// A value from a command line or the environment.
    pub fn text(text: impl Into<String>) -> Given {
        Given { form: Form::Text, text: text.into() }
    }

    /// Itself for a message: `the string "x"`.
    pub fn describe(&self) -> String {
        match self.form {
            Form::Text => quote(&self.text),
            Form::String => format!("the string {}", quote(&self.text)),
            Form::Integer => format!("the number {}", self.text),
            Form::Boolean => self.text.clone(),
            Form::Strings => format!("the array of {}", quote(&self.text)),
            Form::Other(name) => name.to_owned(),
        }
    }

    /// Its text, when it is one plain value.
    pub fn scalar(&self) -> Option<&str> {
        let is_plain = matches!(self.form, Form::Text | Form::String | Form::Integer | Form::Boolean);
        is_plain.then_some(self.text.as_str())
    }

    /// Its text, when it is one.
    pub fn string(&self) -> Option<&str> {
        matches!(self.form, Form::Text | Form::String).then_some(self.text.as_str())
    }

    fn number(&self) -> Option<u64> {
        let digits = self.text.replace('_', "");
        matches!(self.form, Form::Text | Form::Integer).then(|| digits.parse().ok()).flatten()
    }

    fn boolean(&self) -> Option<bool> {
        matches!(self.form, Form::Text | Form::Boolean).then(|| self.text.parse().ok()).flatten()
    }
}

/// What a number may be: bytes of a size, microseconds of a period, or the count itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub least: u64,
    /// The most.
    pub most: u64,
}

impl Range {
    /// Everything: for settings that are no numbers.
    pub const ANY: Range = Range { least: 0, most: u64::MAX };

    fn has(self, number: u64) -> bool {
        (self.least..=self.most).contains(&number)
    }
}

/// A place in the settings that one value goes to.
pub trait Slot {
    /// What it wants, for people: `a size like "64MiB", from 1MiB to 1GiB`.
    fn wants(&self, range: Range) -> String;
    /// Takes a value; false, and unchanged, when it is not what is wanted.
    fn take(&mut self, given: &Given, range: Range) -> bool;
    /// Its value as it is written in a file.
    fn show(&self) -> String;
    /// The JSON Schema of what it wants.
    fn schema(&self, range: Range) -> Value;
}

/// Puts a value in place; false when there is none.
fn put<T>(place: &mut T, value: Option<T>) -> bool {
    value.map(|value| *place = value).is_some()
}

impl Slot for bool {
    fn wants(&self, _: Range) -> String {
        "true or false".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        put(self, given.boolean())
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "boolean"})
    }
}

impl Slot for u64 {
    fn wants(&self, range: Range) -> String {
        format!("a whole number from {} to {}", range.least, range.most)
    }
    fn take(&mut self, given: &Given, range: Range) -> bool {
        put(self, given.number().filter(|number| range.has(*number)))
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn schema(&self, range: Range) -> Value {
        json!({"type": "integer", "minimum": range.least, "maximum": range.most})
    }
}

const SIZE: &str = "^[0-9]+ *(B|KiB|MiB|GiB|TiB)$";
const PERIOD: &str = "^[0-9]+ *(us|ms|s|m|h|d)$";
const UNLIMITED: &str = "unlimited";

fn size(given: &Given, range: Range) -> Option<Size> {
    given.string().and_then(Size::parse).filter(|size| range.has(size.as_bytes()))
}

fn period(given: &Given, range: Range) -> Option<Period> {
    given.string().and_then(Period::parse).filter(|period| range.has(period.as_micros()))
}

fn period_of(micros: u64) -> Period {
    Period::from(std::time::Duration::from_micros(micros))
}

impl Slot for Size {
    fn wants(&self, range: Range) -> String {
        format!("a size like \"64MiB\", from {} to {}", Size::bytes(range.least), Size::bytes(range.most))
    }
    fn take(&mut self, given: &Given, range: Range) -> bool {
        put(self, size(given, range))
    }
    fn show(&self) -> String {
        format!("\"{self}\"")
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string", "pattern": SIZE})
    }
}

impl Slot for Period {
    fn wants(&self, range: Range) -> String {
        format!("a period like \"5s\", from {} to {}", period_of(range.least), period_of(range.most))
    }
    fn take(&mut self, given: &Given, range: Range) -> bool {
        put(self, period(given, range))
    }
    fn show(&self) -> String {
        format!("\"{self}\"")
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string", "pattern": PERIOD})
    }
}

/// A bound that can be lifted with the word `unlimited`, never with 0.
impl Slot for Option<Size> {
    fn wants(&self, range: Range) -> String {
        format!("{}, or \"{UNLIMITED}\"", Size::bytes(0).wants(range))
    }
    fn take(&mut self, given: &Given, range: Range) -> bool {
        let lifted = given.string() == Some(UNLIMITED);
        put(self, if lifted { Some(None) } else { size(given, range).map(Some) })
    }
    fn show(&self) -> String {
        self.map_or_else(|| format!("\"{UNLIMITED}\""), |size| size.show())
    }
    fn schema(&self, range: Range) -> Value {
        json!({"anyOf": [Size::bytes(0).schema(range), {"const": UNLIMITED}]})
    }
}

/// A bound that can be lifted with the word `unlimited`, never with 0.
impl Slot for Option<Period> {
    fn wants(&self, range: Range) -> String {
        format!("{}, or \"{UNLIMITED}\"", Period::millis(0).wants(range))
    }
    fn take(&mut self, given: &Given, range: Range) -> bool {
        let lifted = given.string() == Some(UNLIMITED);
        put(self, if lifted { Some(None) } else { period(given, range).map(Some) })
    }
    fn show(&self) -> String {
        self.map_or_else(|| format!("\"{UNLIMITED}\""), |period| period.show())
    }
    fn schema(&self, range: Range) -> Value {
        json!({"anyOf": [Period::millis(0).schema(range), {"const": UNLIMITED}]})
    }
}

impl Slot for Fsync {
    fn wants(&self, range: Range) -> String {
        format!("\"always\", or {}", Period::millis(0).wants(range))
    }
    fn take(&mut self, given: &Given, range: Range) -> bool {
        let always = given.string() == Some("always");
        put(self, if always { Some(Fsync::Always) } else { period(given, range).map(Fsync::Every) })
    }
    fn show(&self) -> String {
        match self {
            Fsync::Always => "\"always\"".into(),
            Fsync::Every(period) => period.show(),
        }
    }
    fn schema(&self, range: Range) -> Value {
        json!({"anyOf": [{"const": "always"}, Period::millis(0).schema(range)]})
    }
}

/// What channels of foreign records are called by, or nothing.
impl Slot for Option<ChannelFrom> {
    fn wants(&self, _: Range) -> String {
        "\"key\", \"header:NAME\", or \"\"".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        let from = given.string().map(|text| match (text, text.strip_prefix("header:")) {
            ("", _) => Some(None),
            ("key", _) => Some(Some(ChannelFrom::Key)),
            (_, Some(name)) if !name.is_empty() && name.len() <= 255 => {
                Some(Some(ChannelFrom::Header(name.to_owned())))
            }
            _ => None,
        });
        put(self, from.flatten())
    }
    fn show(&self) -> String {
        match self {
            None => "\"\"".into(),
            Some(ChannelFrom::Key) => "\"key\"".into(),
            Some(ChannelFrom::Header(name)) => format!("{:?}", format!("header:{name}")),
        }
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string", "pattern": "^(|key|header:.{1,255})$"})
    }
}

/// Brokers, or none.
impl Slot for Brokers {
    fn wants(&self, _: Range) -> String {
        "brokers like \"kafka-1:9092,kafka-2:9092\", or \"\" for the embedded log".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        put(self, given.string().map(|text| Brokers(text.trim().to_owned())))
    }
    fn show(&self) -> String {
        format!("{:?}", self.0)
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string"})
    }
}

impl Slot for SocketAddr {
    fn wants(&self, _: Range) -> String {
        "an address and port like \"127.0.0.1:8000\"".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        let text = given.string().map(|text| match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        });
        put(self, text.and_then(|text| text.parse().ok()))
    }
    fn show(&self) -> String {
        format!("\"{self}\"")
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string"})
    }
}

impl Slot for PathBuf {
    fn wants(&self, _: Range) -> String {
        "a path".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        put(self, given.string().filter(|text| !text.is_empty() && !text.contains('\0')).map(PathBuf::from))
    }
    fn show(&self) -> String {
        format!("{:?}", self.display().to_string())
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string", "minLength": 1})
    }
}

/// The name of a topic; may be left empty where another setting then decides.
impl Slot for Option<TopicName> {
    fn wants(&self, _: Range) -> String {
        "a topic name (1 to 249 of [a-zA-Z0-9._-], not beginning with __), or \"\"".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        let name = given.string().map(|text| match text {
            "" => Some(None),
            _ => TopicName::new(text).ok().filter(|name| !name.is_internal()).map(Some),
        });
        put(self, name.flatten())
    }
    fn show(&self) -> String {
        format!("\"{}\"", self.as_ref().map_or("", TopicName::as_str))
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string", "pattern": "^[a-zA-Z0-9._-]{0,249}$"})
    }
}

impl Slot for TopicName {
    fn wants(&self, _: Range) -> String {
        "a topic name (1 to 249 of [a-zA-Z0-9._-], not beginning with __)".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        let name = given.string().and_then(|text| TopicName::new(text).ok());
        put(self, name.filter(|name| !name.is_internal()))
    }
    fn show(&self) -> String {
        format!("\"{self}\"")
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string", "pattern": "^[a-zA-Z0-9._-]{1,249}$"})
    }
}

/// The name of a namespace, or none.
impl Slot for Option<String> {
    fn wants(&self, _: Range) -> String {
        "the name of a namespace (1 to 64 of [a-z0-9_-]), or \"\"".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        let name = given.string().map(|text| match text {
            "" => Some(None),
            _ => check_source_type(text).ok().map(|()| Some(text.to_owned())),
        });
        put(self, name.flatten())
    }
    fn show(&self) -> String {
        format!("\"{}\"", self.as_deref().unwrap_or(""))
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string", "pattern": "^[a-z0-9_-]{0,64}$"})
    }
}

/// A JSON pointer; empty for the channel itself.
impl Slot for ConflateKey {
    fn wants(&self, _: Range) -> String {
        "a JSON pointer like \"/widgetId\", or \"\"".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        put(self, given.string().and_then(|text| ConflateKey::new(text).ok()))
    }
    fn show(&self) -> String {
        format!("{:?}", self.as_str())
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "string", "pattern": "^(/([^~]|~[01])*)?$", "maxLength": 255})
    }
}

/// Origins of web pages; outside a file separated by `,`.
impl Slot for Vec<String> {
    fn wants(&self, _: Range) -> String {
        "an array of at most 64 origins like [\"http://localhost:3000\"]".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        put(self, list(given, is_origin))
    }
    fn show(&self) -> String {
        format!("{self:?}")
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "array", "maxItems": 64, "items": {"type": "string", "pattern": "^https?://[^/,*]+$"}})
    }
}

/// Scheme, host and port; never a wildcard.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    host.is_some_and(|host| !host.is_empty() && host.len() <= 255 && host.bytes().all(legal))
}

/// Hosts; outside a file separated by `,`.
impl Slot for Hosts {
    fn wants(&self, _: Range) -> String {
        "an array of at most 64 names or addresses like [\"host.docker.internal\", \"10.0.0.7\"]".into()
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        put(self, list(given, is_host).map(Hosts))
    }
    fn show(&self) -> String {
        format!("{:?}", self.0)
    }
    fn schema(&self, _: Range) -> Value {
        json!({"type": "array", "maxItems": 64, "items": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,255}$"}})
    }
}

/// A name or an address, without a port; never a wildcard.
fn is_host(text: &str) -> bool {
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    is_address || (text.len() <= 255 && text.bytes().all(legal))
}

/// An array of at most 64 texts, each of which is legal.
fn list(given: &Given, is_legal: fn(&str) -> bool) -> Option<Vec<String>> {
    let is_list = matches!(given.form, Form::Text | Form::Strings);
    let texts: Vec<String> =
        given.text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(String::from).collect();
    (is_list && texts.len() <= 64 && texts.iter().all(|text| is_legal(text))).then_some(texts)
}

/// One of a few words.
pub trait Choice: Copy + PartialEq + 'static {
    /// The words and what they stand for.
    const ALL: &'static [(&'static str, Self)];
}

impl Choice for Stream {
    const ALL: &'static [(&'static str, Stream)] =
        &[("dual", Stream::Dual), ("log", Stream::Log), ("bus", Stream::Bus)];
}

impl Choice for SlowClient {
    const ALL: &'static [(&'static str, SlowClient)] =
        &[("disconnect", SlowClient::Disconnect), ("conflate", SlowClient::Conflate)];
}

impl Choice for Compression {
    const ALL: &'static [(&'static str, Compression)] =
        &[("none", Compression::None), ("zstd", Compression::Zstd)];
}

impl<T: Choice> Slot for T {
    fn wants(&self, _: Range) -> String {
        let words: Vec<String> = T::ALL.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }
    fn take(&mut self, given: &Given, _: Range) -> bool {
        let word = given.string();
        put(self, T::ALL.iter().find(|(name, _)| Some(*name) == word).map(|(_, value)| *value))
    }
    fn show(&self) -> String {
        let word = T::ALL.iter().find(|(_, value)| value == self).map_or("", |(word, _)| word);
        format!("\"{word}\"")
    }
    fn schema(&self, _: Range) -> Value {
        json!({"enum": T::ALL.iter().map(|(word, _)| *word).collect::<Vec<_>>()})
    }
}
