//! The program `dualstream`: its command line. The work is in the library and in one file per subcommand.
#![forbid(unsafe_code)]

mod bench;
mod client;
mod commands;
mod exit;
mod output;
mod progress;
mod shown;
mod signals;
mod table;
mod topic_view;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use client::Server;
use std::process::ExitCode;

/// A round of commits allocates on one thread and frees on another: about a seventh less CPU per event than with the
/// system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let Cli { global, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // A list in the environment is for `subscribe`; the others take the first of it.
    let is_asked = matches.value_source("servers") == Some(ValueSource::CommandLine);
    if is_asked && global.servers.len() > 1 && !matches!(command, Command::Subscribe(_)) {
        let message = "only `subscribe` takes several servers (--server)\n";
        Cli::command().error(ErrorKind::TooManyValues, message).exit();
    }
    exit::code(match command {
        Command::Serve(args) => commands::serve::run(args, &global),
        Command::Publish(args) => commands::publish::run(args, &global),
        Command::Subscribe(args) => commands::subscribe::run(args, &global),
        Command::Replay(args) => commands::replay::run(args, &global),
        Command::Topic { command } => commands::topic::run(command, &global),
        Command::Instance { command } => commands::instance::run(command, &global),
        Command::Connection { command } => commands::connection::run(command, &global),
        Command::Bench { command } => commands::bench::run(command, &global),
        Command::Log { command } => commands::log::run(command, &global),
        Command::CopyLog(args) => commands::copy_log::run(args, &global),
        Command::Config { command } => commands::config::run(command, &global),
        Command::Completions { shell } => commands::completions::run(shell),
    })
}

/// A durable log and an instant bus in one program: events are stored first, then announced.
#[derive(Parser)]
#[command(name = "dualstream", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Example:
  dualstream serve &
  dualstream publish --type greeting --source-type user --source-id octocat --data '{\"text\":\"hi\"}'
  dualstream replay 'events:user:*'")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every subcommand.
#[derive(Args)]
struct Global {
    /// The server to talk to; `subscribe` takes several and goes on at the next one when one is lost
    #[arg(
        long = "server",
        global = true,
        value_name = "URL",
        env = "DUALSTREAM_SERVER",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8000"
    )]
    servers: Vec<Server>,
    /// Output for people or for programs
    #[arg(long, global = true, value_enum, env = "DUALSTREAM_OUTPUT", default_value = "human")]
    output: output::Format,
}

impl Global {
    /// The server of a command that talks to one.
    fn server(&self) -> &Server {
        self.servers.first().expect("there is a default")
    }
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server
    Serve(commands::serve::Arguments),
    /// Publishes one event, or a file of them
    Publish(commands::publish::Arguments),
    /// Follows channels
    Subscribe(commands::subscribe::Arguments),
    /// Prints what is stored in a channel
    Replay(commands::replay::Arguments),
    /// Administers topics
    #[command(after_help = "Example:
  dualstream topic describe events")]
    Topic {
        #[command(subcommand)]
        command: commands::topic::Command,
    },
    /// Shows the nodes there are
    #[command(after_help = "Example:
  dualstream instance list")]
    Instance {
        #[command(subcommand)]
        command: commands::instance::Command,
    },
    /// Shows who is connected, and disconnects clients
    #[command(after_help = "Example:
  dualstream connection list")]
    Connection {
        #[command(subcommand)]
        command: commands::connection::Command,
    },
    /// Measures a running server from outside
    #[command(after_help = "Example:
  dualstream bench fan-out --embedded --subscribers 500")]
    Bench {
        #[command(subcommand)]
        command: commands::bench::Command,
    },
    /// Looks after the files of a log that is not being served
    #[command(after_help = "Example:
  dualstream log verify --data-dir dualstream-data")]
    Log {
        #[command(subcommand)]
        command: commands::log::Command,
    },
    /// Copies topics between an embedded log and Kafka
    #[command(
        after_help = "A copy has the same partitions, order, keys, values and headers, at offsets of its own: positions of the source do not
count there. Run it again after an interruption: it goes on without gap or repeat. At the end both sides are compared;
exits with 1 when they are not the same.

Examples:
  dualstream copy-log --from dualstream-data --to kafka://localhost:9092
  dualstream copy-log --from kafka://localhost:9092 --to restored --topic events chat
  dualstream copy-log --from dualstream-data --to kafka://localhost:9092 --verify"
    )]
    CopyLog(commands::copy_log::Arguments),
    /// Shows and checks settings
    #[command(after_help = "Example:
  dualstream config check dualstream.toml")]
    Config {
        #[command(subcommand)]
        command: commands::config::Command,
    },
    /// Prints a script that completes command lines
    #[command(after_help = "Example:
  dualstream completions bash > /etc/bash_completion.d/dualstream")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}
