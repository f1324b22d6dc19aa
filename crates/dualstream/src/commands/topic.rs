//! `dualstream topic`: administers topics of a server.

use super::block_on;
use crate::client::topics::{Topic, Topics};
use crate::client::{Connection, Request};
use crate::output::Format;
use crate::{Global, exit, output, topic_view};
use anyhow::{Context, bail};
use bytes::Bytes;
use dualstream::settings::{Period, Size};
use http::Method;
use serde_json::{Map, Value};
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;
use tokio::time::timeout;

/// How long names alone are waited for.
const NAMES_MAX: Duration = Duration::from_secs(2);

/// What to do with topics.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Creates a topic
    #[command(after_help = "Examples:
  dualstream topic create orders --partitions 24 --retention 30d
  dualstream topic create prices --cleanup-policy compact")]
    Create {
        /// Its name: 1 to 249 of [a-zA-Z0-9._-]
        topic: String,
        /// Number of partitions, 1 to 10,000
        #[arg(long, value_name = "N", default_value_t = 12)]
        partitions: u32,
        #[command(flatten)]
        retention: Retention,
        /// How it forgets: the oldest go (delete), or only the last record of a key stays (compact)
        #[arg(long, value_name = "POLICY", value_parser = ["delete", "compact"], default_value = "delete")]
        cleanup_policy: String,
        /// What record timestamps are
        #[arg(long, value_name = "TYPE", value_parser = ["LogAppendTime", "CreateTime"], default_value = "LogAppendTime")]
        timestamp_type: String,
    },
    /// Lists topics
    #[command(after_help = "Example:
  dualstream topic list --internal")]
    List {
        /// The log's own topics too
        #[arg(long)]
        internal: bool,
        /// Names alone, one a line
        #[arg(long)]
        names: bool,
    },
    /// Shows one topic, with its partitions
    #[command(after_help = "Example:
  dualstream topic describe events")]
    Describe {
        /// Its name
        topic: String,
    },
    /// Changes exactly what is named
    #[command(after_help = "Examples:
  dualstream topic alter orders --retention none --retention-bytes 10GiB
  dualstream topic alter orders --partitions 48 --force")]
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args(["partitions", "retention", "retention_bytes"]))]
    Alter {
        /// Its name
        topic: String,
        /// More partitions. Refused where there are records, whose keys would move, unless forced
        #[arg(long, value_name = "N")]
        partitions: Option<u32>,
        #[command(flatten)]
        retention: Retention,
        /// Raise the partitions of a topic that has records: the order of each source breaks, positions go stale
        #[arg(long)]
        force: bool,
    },
    /// Deletes a topic with its records
    #[command(after_help = "Example:
  dualstream topic delete orders --yes")]
    Delete {
        /// Its name
        topic: String,
        /// Delete it although a namespace stores into it
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Makes the records before a place unreadable
    #[command(after_help = "Example:
  dualstream topic trim events --before 2026-11-01T00:00:00Z")]
    Trim {
        /// Its name
        topic: String,
        /// An RFC 3339 append time, a position (its partition alone is trimmed), a token of a history, or latest
        #[arg(long, value_name = "WHERE")]
        before: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// How long records stay.
#[derive(clap::Args)]
pub struct Retention {
    /// Records older than this may go, e.g. 7d; none keeps them
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    retention: Option<Bound>,
    /// The oldest records go while the topic is larger, e.g. 10GiB; none for no bound
    #[arg(long, value_name = "SIZE", value_parser = size)]
    retention_bytes: Option<Bound>,
}

/// A bound that may be lifted.
#[derive(Clone, Copy, Debug)]
struct Bound(Option<u64>);

fn period(text: &str) -> Result<Bound, String> {
    if text == "none" {
        return Ok(Bound(None));
    }
    let period = Period::parse(text).map(|period| period.as_millis()).filter(|&ms| ms > 0);
    period.map(|ms| Bound(Some(ms))).ok_or_else(|| "a number and its unit, like 7d or 12h, or none".into())
}

fn size(text: &str) -> Result<Bound, String> {
    if text == "none" {
        return Ok(Bound(None));
    }
    let size = Size::parse(text).map(|size| size.as_bytes()).filter(|&bytes| bytes > 0);
    size.map(|bytes| Bound(Some(bytes))).ok_or_else(|| "a number and its unit, like 10GiB, or none".into())
}

impl Retention {
    /// Adds what was said to the body of a request.
    fn add_to(&self, body: &mut Map<String, Value>) {
        for (name, bound) in [("retention_ms", self.retention), ("retention_bytes", self.retention_bytes)] {
            if let Some(Bound(bound)) = bound {
                body.insert(name.into(), bound.into());
            }
        }
    }
}

/// Does it.
pub fn run(command: Command, global: &Global) -> anyhow::Result<()> {
    let mut topics = Api { connection: Connection::new(global.server()), format: global.output };
    block_on(async move {
        match command {
            Command::List { internal, names } => topics.list(internal, names).await,
            Command::Describe { topic } => {
                let answer = topics.ask(Method::GET, &path(&topic, ""), None).await?;
                topics.show(&answer, topic_view::description)
            }
            Command::Create { topic, partitions, retention, cleanup_policy, timestamp_type } => {
                let mut body = Map::from_iter([
                    ("name".to_owned(), Value::from(topic)),
                    ("partitions".to_owned(), partitions.into()),
                    ("cleanup_policy".to_owned(), cleanup_policy.into()),
                    ("timestamp_type".to_owned(), timestamp_type.into()),
                ]);
                retention.add_to(&mut body);
                let answer = topics.ask(Method::POST, "/v1/topics", Some(body)).await?;
                topics.show(&answer, |topic| topic_view::summary("created", topic))
            }
            Command::Alter { topic, partitions, retention, force } => {
                let mut body = Map::new();
                body.extend(partitions.map(|count| ("partitions".to_owned(), count.into())));
                retention.add_to(&mut body);
                let answer = topics.ask(Method::PATCH, &path(&topic, forced(force)), Some(body)).await?;
                topics.show(&answer, |topic| topic_view::summary("altered", topic))
            }
            Command::Delete { topic, force, yes } => topics.delete(&topic, force, yes).await,
            Command::Trim { topic, before, yes } => topics.trim(&topic, before, yes).await,
        }
    })
}

/// The topics of a server.
struct Api {
    connection: Connection,
    format: Format,
}

impl Api {
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Map<String, Value>>,
    ) -> anyhow::Result<Bytes> {
        let body = body.map(|body| ("application/json", Bytes::from(Value::from(body).to_string())));
        let request = Request { method, body, ..Request::get(path) };
        Ok(self.connection.fetch(&request).await?)
    }

    /// Prints a topic as it came, or as people read it; a warning goes to standard error.
    fn show(&self, answer: &[u8], human: impl Fn(&Topic) -> Vec<String>) -> anyhow::Result<()> {
        let topic = self.read(answer)?;
        match self.format {
            Format::Json => output::line(&String::from_utf8_lossy(answer))?,
            Format::Human => human(&topic).iter().try_for_each(|line| output::line(line))?,
        }
        if let Some(warning) = topic.warning {
            exit::tell(format_args!("warning: {warning}"));
        }
        Ok(())
    }

    fn read(&self, answer: &[u8]) -> anyhow::Result<Topic> {
        serde_json::from_slice(answer).map_err(|error| self.connection.strange(error.to_string()).into())
    }

    async fn list(&mut self, internal: bool, names: bool) -> anyhow::Result<()> {
        let target = if internal { "/v1/topics?internal=true" } else { "/v1/topics" };
        let answer = match names {
            // A shell asks while somebody types.
            true => timeout(NAMES_MAX, self.ask(Method::GET, target, None))
                .await
                .with_context(|| format!("no answer within {NAMES_MAX:?}"))??,
            false => self.ask(Method::GET, target, None).await?,
        };
        let strange = |error: serde_json::Error| self.connection.strange(error.to_string());
        let Topics { topics } = serde_json::from_slice(&answer).map_err(strange)?;
        if self.format == Format::Json && !names {
            return Ok(topics.iter().try_for_each(|topic| output::line(topic.get()))?);
        }
        let topics: Vec<Topic> =
            topics.iter().map(|topic| self.read(topic.get().as_bytes())).collect::<Result<_, _>>()?;
        let lines = match names {
            true => topics.into_iter().map(|topic| topic.name).collect(),
            false => topic_view::list(&topics),
        };
        Ok(lines.iter().try_for_each(|line| output::line(line))?)
    }

    async fn delete(&mut self, topic: &str, force: bool, yes: bool) -> anyhow::Result<()> {
        let told = self.ask(Method::GET, &path(topic, ""), None).await?;
        let told = self.read(&told)?;
        let records = output::counted(told.records, "record");
        // What would be refused is refused before anybody is asked.
        if yes
            || (!force && !told.namespaces.is_empty())
            || is_wanted(&format!("Delete topic '{topic}' with its {records}?"))?
        {
            self.ask(Method::DELETE, &path(topic, forced(force)), None).await?;
            output::line(&match self.format {
                Format::Json => serde_json::json!({ "deleted": topic, "records": told.records }).to_string(),
                Format::Human => format!("deleted {topic} with {records}"),
            })?;
            return Ok(());
        }
        bail!("nothing was deleted")
    }

    async fn trim(&mut self, topic: &str, before: String, yes: bool) -> anyhow::Result<()> {
        if !yes {
            let told = self.ask(Method::GET, &path(topic, ""), None).await?;
            let records = output::counted(self.read(&told)?.records, "record");
            let question = format!("Topic '{topic}' has {records}. Make those before {before} unreadable?");
            if !is_wanted(&question)? {
                bail!("nothing was trimmed");
            }
        }
        let body = Map::from_iter([("before".to_owned(), Value::from(before))]);
        let answer = self.ask(Method::POST, &format!("{}/trim", path(topic, "")), Some(body)).await?;
        self.show(&answer, |topic| {
            let (trimmed, left) = (output::counted(topic.trimmed, "record"), output::count(topic.records));
            vec![format!("trimmed {}: {trimmed} went, {left} left", topic.name)]
        })
    }
}

/// The path of a topic. What is no topic's name reaches the server as it is, and is refused there.
fn path(topic: &str, query: &str) -> String {
    let name: String = form_urlencoded::byte_serialize(topic.as_bytes()).collect();
    format!("/v1/topics/{}{query}", name.replace('+', "%20"))
}

fn forced(force: bool) -> &'static str {
    if force { "?force=true" } else { "" }
}

/// Asks at the terminal. Where there is none nobody can answer.
fn is_wanted(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("this cannot be undone: confirm it with --yes");
    }
    let mut terminal = std::io::stderr().lock();
    write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush()).context("cannot ask")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
