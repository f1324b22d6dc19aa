//! The settings of a deployment.
//!
//! ```text
//! default.toml ─┐ (documentation; a test keeps it equal to Settings::default())
//! a TOML file ──┼─> assignments `path = value`, each with its origin ──> the table ──> Settings
//! environment ──┤                                                          │
//! flags ────────┘    later ones win                                        └─> JSON Schema, reference page
//! ```
//! Everything that is wrong is reported at once, each with where it was said; nothing is guessed and nothing silently
//! ignored. It does not open, create or reach anything.

mod bus;
pub mod environment;
mod file;
mod period;
mod problem;
pub mod reference;
mod rules;
mod size;
mod table;
mod value;

pub use bus::{Bus, OptionalFile, Prefix, RedisUrl};
pub use environment::Environment;
pub use period::Period;
pub use problem::{Origin, Problem, Problems};
pub use size::Size;

use dualstream_core::conflation::ConflateKey;
use dualstream_core::namespace::{self, ChannelFrom, EVENTS, Namespaces, Stream};
use dualstream_core::topic::{PARTITIONS_DEFAULT, RETENTION_MS_DEFAULT, TopicName};
use dualstream_log::Compression;
use file::Assignment;
use problem::suggestion;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use value::Given;

/// The commented default settings: every setting with its meaning and default.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// All settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Where the embedded log keeps its files.
    pub data_dir: PathBuf,
    /// The namespace of channels without `:`.
    pub default_namespace: Option<String>,
    /// How long an ordered shutdown may take.
    pub shutdown_max: Period,
    /// The log.
    pub log: Log,
    /// Properties of the Kafka client, by their names without `kafka.` in front.
    pub kafka: BTreeMap<String, String>,
    /// The bus.
    pub bus: Bus,
    /// The namespaces by name; `events` is always there.
    pub namespaces: BTreeMap<String, Namespace>,
    /// The HTTP server.
    pub http: Http,
    /// What may be large, many or slow, and how much.
    pub limits: Limits,
}

/// Settings of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Brokers of the Kafka cluster that is the log; none for the embedded log.
    pub kafka: Brokers,
    /// Whether topics that are missing in Kafka are created at the start.
    pub create_topics: bool,
    /// Bytes of the mirror of one topic.
    pub mirror_bytes_max: Size,
    /// Records before the end of each partition that a mirror begins with.
    pub mirror_backfill: u64,
    /// How long a topic is mirrored after its last reader.
    pub mirror_idle: Period,
    /// Topic of the namespace `events`.
    pub topic: TopicName,
    /// Partitions of the topics that are made at start.
    pub partitions: u64,
    /// When a commit is durable.
    pub fsync: Fsync,
    /// How long records are kept, from their append.
    pub retention: Option<Period>,
    /// How large a topic may grow.
    pub retention_bytes: Option<Size>,
    /// Size at which a segment file is sealed.
    pub segment_bytes: Size,
    /// Size of one of the journal's four files.
    pub journal_file_bytes: Size,
    /// How long an id is remembered.
    pub dedup_window: Period,
    /// How many ids are remembered per partition.
    pub dedup_ids_max: u64,
    /// Most bytes a recovery reads again.
    pub checkpoint_bytes: Size,
    /// Longest time between two checkpoints.
    pub checkpoint_interval: Period,
    /// How batches are compressed.
    pub compression: Compression,
    /// Bytes of commits that wait for the log's writer.
    pub queue_bytes_max: Size,
    /// Free disk space below which nothing is stored.
    pub free_bytes_min: Size,
    /// Bytes of indexes of sealed segments kept in memory.
    pub sidecar_cache_bytes_max: Size,
}

/// When a commit is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before it is answered.
    Always,
    /// At most so long after it was answered: a power loss takes what came since.
    Every(Period),
}

/// Addresses of Kafka brokers, `host:port` with commas; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brokers(pub String);

impl Brokers {
    /// Whether there are any.
    pub fn are_set(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Settings of one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// Which halves it uses.
    pub stream: Stream,
    /// Its topic, when it is not the one that goes by its name.
    pub topic: Option<TopicName>,
    /// What happens to slow clients.
    pub slow_client: SlowClient,
    /// What their live items are conflated by.
    pub conflate_key: ConflateKey,
    /// Whether live subscriptions are fed from the log too.
    pub live_feed: bool,
    /// What channels of foreign records are called by, if others write the topic.
    pub channel_from: Option<ChannelFrom>,
}

/// What happens to a client that takes live items too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowClient {
    /// It is disconnected.
    Disconnect,
    /// It gets the latest item of each key.
    Conflate,
}

/// Names and addresses of machines, without ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(pub Vec<String>);

/// Settings of the HTTP server.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Names and addresses the server is called by, beside loopback ones.
    pub allowed_hosts: Hosts,
    /// Origins whose pages may use the server, beside its own.
    pub allowed_origins: Vec<String>,
    /// Largest request body, and largest line of an NDJSON body.
    pub body_bytes_max: Size,
    /// Bytes of all request bodies held at a time.
    pub bodies_bytes_max: Size,
    /// Largest block of request line and headers.
    pub header_bytes_max: Size,
    /// Longest request target.
    pub uri_bytes_max: Size,
    /// Connections served at a time.
    pub connections_max: u64,
    /// Connections accepted per second in the long run, and so many at once.
    pub connects_per_second: u64,
    /// How long the headers of a request may take.
    pub header_max: Period,
    /// How long a body may be slower than `body_rate_min`.
    pub body_grace: Period,
    /// Least speed of a body per second.
    pub body_rate_min: Size,
    /// How long a peer may take nothing.
    pub write_stall_max: Period,
    /// How long a peer may acknowledge nothing.
    pub peer_silence_max: Period,
    /// How often a quiet event stream shows that it lives.
    pub heartbeat: Period,
    /// Reconnection time told to clients of event streams.
    pub retry: Period,
    /// Most bytes of events in one write.
    pub write_bytes_max: Size,
}

/// Limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of events that wait for the log.
    pub publish_waiting_bytes_max: Size,
    /// How long an event waits for a place there.
    pub publish_wait_max: Period,
    /// How long the outcome of a publish is waited for.
    pub publish_outcome_max: Period,
    /// Bytes of recent events shared by all subscribers.
    pub ring_bytes_max: Size,
    /// Bytes read from the log at once for a subscriber that is behind.
    pub page_bytes_max: Size,
    /// How long a bus subscription outlives its last subscriber.
    pub linger: Period,
    /// Channels and patterns of one subscription.
    pub targets_max: u64,
    /// Bytes of live and bus-only items that wait for one client.
    pub live_queue_bytes_max: Size,
    /// Bytes of live and bus-only items that wait for all clients.
    pub live_queues_bytes_max: Size,
    /// Largest message of a client of the client protocol.
    pub message_bytes_max: Size,
    /// How long a message may take from its first byte to its last.
    pub message_max: Period,
    /// How long a client may take to connect.
    pub unauthenticated_max: Period,
    /// How often a client is pinged.
    pub ping_interval: Period,
    /// How long a client may take to answer a ping.
    pub pong_max: Period,
    /// How long the close frame of a client is waited for.
    pub close_max: Period,
    /// Commands of a client per second.
    pub commands_per_second: u64,
    /// Commands of a client at once.
    pub commands_burst: u64,
    /// Commands of a client that may be wrong, per minute.
    pub errors_per_minute: u64,
    /// Clients without a WebSocket at a time.
    pub emulated_max: u64,
    /// Channels and patterns of a client.
    pub channels_max: u64,
    /// Patterns of a client.
    pub patterns_max: u64,
    /// Publications in the reply to a recovery.
    pub recovery_publications_max: u64,
    /// Bytes of publications in the reply to a recovery.
    pub recovery_bytes_max: Size,
    /// Publications of a page of history.
    pub history_publications_max: u64,
    /// How long the answer to a command may take.
    pub answer_max: Period,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            data_dir: PathBuf::from("dualstream-data"),
            default_namespace: None,
            shutdown_max: Period::seconds(30),
            log: Log::default(),
            kafka: BTreeMap::new(),
            bus: Bus::default(),
            namespaces: BTreeMap::from([(EVENTS.to_owned(), Namespace::default())]),
            http: Http::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log {
            kafka: Brokers::default(),
            create_topics: true,
            mirror_bytes_max: Size::gibibytes(10),
            mirror_backfill: 65_536,
            mirror_idle: Period::seconds(600),
            topic: TopicName::new(EVENTS).expect("`events` is a legal name"),
            partitions: u64::from(PARTITIONS_DEFAULT),
            fsync: Fsync::Always,
            retention: Some(Period::millis(RETENTION_MS_DEFAULT)),
            retention_bytes: Some(Size::gibibytes(64)),
            segment_bytes: Size::mebibytes(64),
            journal_file_bytes: Size::mebibytes(64),
            dedup_window: Period::days(1),
            dedup_ids_max: 1_000_000,
            checkpoint_bytes: Size::mebibytes(64),
            checkpoint_interval: Period::seconds(10),
            compression: Compression::None,
            queue_bytes_max: Size::mebibytes(128),
            free_bytes_min: Size::mebibytes(64),
            sidecar_cache_bytes_max: Size::mebibytes(64),
        }
    }
}

impl Default for Namespace {
    fn default() -> Namespace {
        Namespace {
            stream: Stream::Dual,
            topic: None,
            slow_client: SlowClient::Disconnect,
            conflate_key: ConflateKey::default(),
            live_feed: true,
            channel_from: None,
        }
    }
}

impl Default for Http {
    fn default() -> Http {
        Http {
            allowed_hosts: Hosts::default(),
            allowed_origins: Vec::new(),
            body_bytes_max: Size::mebibytes(1),
            bodies_bytes_max: Size::mebibytes(512),
            header_bytes_max: Size::bytes(32 << 10),
            uri_bytes_max: Size::bytes(8 << 10),
            connections_max: 15_000,
            connects_per_second: 2_000,
            header_max: Period::seconds(10),
            body_grace: Period::seconds(5),
            body_rate_min: Size::bytes(1 << 10),
            write_stall_max: Period::seconds(10),
            peer_silence_max: Period::seconds(30),
            heartbeat: Period::seconds(25),
            retry: Period::seconds(1),
            write_bytes_max: Size::bytes(64 << 10),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            publish_waiting_bytes_max: Size::mebibytes(64),
            publish_wait_max: Period::seconds(5),
            publish_outcome_max: Period::seconds(30),
            ring_bytes_max: Size::mebibytes(64),
            page_bytes_max: Size::bytes(256 << 10),
            linger: Period::seconds(5),
            targets_max: 128,
            live_queue_bytes_max: Size::mebibytes(1),
            live_queues_bytes_max: Size::mebibytes(512),
            message_bytes_max: Size::bytes(64 << 10),
            message_max: Period::seconds(10),
            unauthenticated_max: Period::seconds(5),
            ping_interval: Period::seconds(25),
            pong_max: Period::seconds(8),
            close_max: Period::seconds(5),
            commands_per_second: 50,
            commands_burst: 100,
            errors_per_minute: 10,
            emulated_max: 10_000,
            channels_max: 128,
            patterns_max: 16,
            recovery_publications_max: 300,
            recovery_bytes_max: Size::bytes(256 << 10),
            history_publications_max: 300,
            answer_max: Period::seconds(4),
        }
    }
}

/// Where settings are looked for; each source wins over the ones before it.
#[derive(Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// `(flag, path, value)` of the command line.
    pub flags: Vec<(String, String, String)>,
}

/// Settings that were read, and what is odd but not wrong about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Oddities to tell the user.
    pub warnings: Vec<Problem>,
}

impl Sources {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All problems at once, each with where it was said.
    pub fn load(self) -> Result<Loaded, Problems> {
        let mut reading = Reading::default();
        if let Some(path) = &self.file {
            reading.file(path);
        }
        let Environment { assignments, problems, warnings } = self.environment;
        reading.problems.extend(problems);
        reading.assign(assignments);
        reading.assign(self.flags.into_iter().map(|(flag, path, value)| Assignment {
            path,
            given: Some(Given::text(value)),
            origin: Origin::Flag(flag),
        }));
        reading.finish().map(|settings| Loaded { settings, warnings })
    }
}

impl Settings {
    /// The settings in a TOML text; `name` is what messages call it.
    ///
    /// # Errors
    /// All problems at once, each with its line.
    pub fn parse(name: &str, text: &str) -> Result<Settings, Problems> {
        let mut reading = Reading::default();
        reading.text(name, text);
        reading.finish()
    }

    /// The namespaces as the core knows them.
    pub fn namespaces(&self) -> Namespaces {
        let named = |(name, namespace): (&String, &Namespace)| namespace::Namespace {
            name: name.clone(),
            stream: namespace.stream,
            topic: self.topic_of(name, namespace),
            slow_client: match namespace.slow_client {
                SlowClient::Disconnect => namespace::SlowClient::Disconnect,
                SlowClient::Conflate => namespace::SlowClient::Conflate(namespace.conflate_key.clone()),
            },
            live_feed: namespace.live_feed,
            channel_from: namespace.channel_from.clone(),
        };
        Namespaces::new(self.namespaces.iter().map(named).collect(), self.default_namespace.as_deref())
    }

    /// A namespace's topic: the one it names, else `log.topic` for `events` and its own name for the others.
    fn topic_of(&self, name: &str, namespace: &Namespace) -> TopicName {
        let own = || TopicName::new(name).expect("a namespace's name was checked and is a legal topic name");
        namespace.topic.clone().unwrap_or_else(|| if name == EVENTS { self.log.topic.clone() } else { own() })
    }
}

/// Settings while they are being read: assignments are applied one after the other.
#[derive(Default)]
struct Reading {
    settings: Settings,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Reading {
    fn file(&mut self, path: &Path) {
        let name = path.display().to_string();
        match read_text(path) {
            Ok(text) => self.text(&name, &text),
            Err(message) => self
                .problems
                .push(Problem::new(Origin::Flag("--config".into()), format!("{name}: {message}"))),
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        let (assignments, problems) = file::parse(name, text);
        self.problems.extend(problems);
        self.assign(assignments);
    }

    fn assign(&mut self, assignments: impl IntoIterator<Item = Assignment>) {
        for assignment in assignments {
            if let Err(message) = self.take(&assignment) {
                self.problems.push(Problem::new(assignment.origin, message));
            }
        }
    }

    fn take(&mut self, Assignment { path, given, origin }: &Assignment) -> Result<(), String> {
        if let Some(why) = table::absent(path) {
            return Err(format!("`{path}` is not available: {why}"));
        }
        let Some(given) = given else { return self.open_section(path) };
        if let Some(property) = path.strip_prefix(table::KAFKA).and_then(|rest| rest.strip_prefix('.')) {
            return self.kafka_property(property, given, origin);
        }
        let Some((field, name)) = table::find(path) else { return Err(unknown(path)) };
        if let Some(name) = name {
            rules::namespace_name(name)?;
        }
        let slot = field.slot(&mut self.settings, name);
        if !slot.take(given, field.range) {
            return Err(format!("`{path}` wants {}, got {}", slot.wants(field.range), given.describe()));
        }
        self.origins.insert(path.clone(), origin.clone());
        Ok(())
    }

    /// `kafka.NAME` goes to the client of Kafka as it is; whether it may be set is for that to say.
    fn kafka_property(&mut self, name: &str, given: &Given, origin: &Origin) -> Result<(), String> {
        let Some(text) = given.scalar() else {
            return Err(format!(
                "`kafka.{name}` wants a string, a number, true or false, got {}",
                given.describe()
            ));
        };
        self.settings.kafka.insert(name.to_owned(), text.to_owned());
        self.origins.insert(format!("kafka.{name}"), origin.clone());
        Ok(())
    }

    /// `[namespaces.chat]` alone makes a namespace with the defaults.
    fn open_section(&mut self, path: &str) -> Result<(), String> {
        if let Some(name) = path.strip_prefix("namespaces.") {
            rules::namespace_name(name)?;
            self.settings.namespaces.entry(name.to_owned()).or_default();
            return Ok(());
        }
        let sections =
            || table::FIELDS.iter().map(|field| field.section()).filter_map(|s| s.split('.').next());
        let is_kafka = path == table::KAFKA || path.starts_with("kafka.");
        match sections().any(|section| section == path) || is_kafka {
            true => Ok(()),
            false if table::find(path).is_some() => Err(format!("`{path}` wants a value, got a section")),
            false => Err(format!(
                "unknown section `{path}`{}",
                suggestion(path, sections().filter(|s| !s.is_empty()))
            )),
        }
    }

    fn finish(mut self) -> Result<Settings, Problems> {
        self.problems.extend(rules::check(&self.settings, &self.origins));
        match self.problems.is_empty() {
            true => Ok(self.settings),
            false => Err(Problems(self.problems)),
        }
    }
}

fn unknown(path: &str) -> String {
    let namespace =
        path.strip_prefix("namespaces.").and_then(|rest| rest.split_once('.')).map(|(name, _)| name);
    let names: Vec<String> =
        table::FIELDS.iter().map(|field| field.path.replace('*', namespace.unwrap_or("NAME"))).collect();
    format!("unknown setting `{path}`{}", suggestion(path, names.iter().map(String::as_str)))
}

fn read_text(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > file::BYTES_MAX {
        return Err(format!("{length} bytes; a settings file has at most {}", file::BYTES_MAX));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
