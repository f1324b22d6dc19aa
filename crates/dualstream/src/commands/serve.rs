//! `dualstream serve`: runs the server.

use crate::{Global, output, signals};
use anyhow::Context;
use clap::ValueEnum;
use dualstream::serve::Server;
use dualstream::settings::{Brokers, Environment, Loaded, Problems, Sources};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tracing_subscriber::EnvFilter;

/// Which settings to serve with.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  dualstream serve
  dualstream serve --config dualstream.toml --set log.retention=1d
  DUALSTREAM_LISTEN=127.0.0.1:0 dualstream --output json serve

Every setting is also an environment variable (DUALSTREAM_LOG_TOPIC); `dualstream config doc` lists them. A flag wins
over the environment, the environment over the file.")]
pub struct Arguments {
    /// File of settings (TOML)
    #[arg(long, value_name = "FILE", env = "DUALSTREAM_CONFIG")]
    config: Option<PathBuf>,
    /// Address and port to serve HTTP on [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Directory of the embedded log [default: dualstream-data]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Kafka to use instead of the embedded log
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Redis to use instead of the in-process bus
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Any setting, e.g. log.retention=1d
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// How the log on standard error is written
    #[arg(long, value_enum, env = "DUALSTREAM_LOG_FORMAT", default_value = "human")]
    log_format: LogFormat,
}

/// How the log on standard error is written.
#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not of the form NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Arguments {
    fn load(self) -> Result<Loaded, Problems> {
        let named = [
            ("--listen", "listen", self.listen),
            ("--data-dir", "data_dir", self.data_dir),
            ("--kafka", "log.kafka", self.kafka),
            ("--redis", "bus.redis", self.redis),
        ];
        let named =
            named.into_iter().filter_map(|(flag, path, value)| Some((flag.into(), path.into(), value?)));
        let any = self.set.into_iter().map(|(path, value)| ("--set".to_owned(), path, value));
        let environment = Environment::read(std::env::vars_os());
        Sources { file: self.config, environment, flags: any.chain(named).collect() }.load()
    }
}

/// Serves until it is told to stop: once to stop in order, twice to stop at once.
pub fn run(args: Arguments, global: &Global) -> anyhow::Result<()> {
    start_logging(args.log_format);
    let Loaded { settings, warnings } = args.load()?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let (data_dir, kafka) = (settings.data_dir.clone(), settings.log.kafka.clone());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let shutdown = signals::first()?;
        let server = Server::open(settings).await?;
        tracing::info!("development mode: nobody has to authenticate, and only this machine is served");
        output::line(&greeting(server.address()?, &data_dir, &kafka, global.output))?;
        server.run(shutdown).await
    })
}

/// What is told on standard output once connections are taken.
fn greeting(address: SocketAddr, data_dir: &Path, kafka: &Brokers, format: output::Format) -> String {
    if format == output::Format::Json {
        let kafka = kafka.are_set().then_some(&kafka.0);
        let url = format!("http://{address}");
        return serde_json::json!({ "url": url, "data_dir": data_dir, "kafka": kafka }).to_string();
    }
    let event = r#"{"type":"greeting","source_type":"user","source_id":"octocat","data":{"text":"hello"}}"#;
    format!(
        "dualstream {version} serves http://{address}\n  log             {log}\n  data directory  {data_dir}\n  publish         \
         curl -s http://{address}/v1/events -H 'content-type: application/json' -d '{event}'\n  follow          \
         curl -N 'http://{address}/v1/stream?channel=events:*'",
        version = env!("CARGO_PKG_VERSION"),
        data_dir = data_dir.display(),
        log =
            if kafka.are_set() { format!("Kafka at {}, mirrored here", kafka.0) } else { "embedded".into() },
    )
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Human => log.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
}
