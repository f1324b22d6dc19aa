//! `cargo xtask services`: the real servers the tests use, to try things with. They stay until they are taken down.

use crate::workspace::Workspace;
use anyhow::Result;
use clap::builder::PossibleValuesParser;
use dualstream_services::background::State;
use dualstream_services::{Background, Service};

/// Arguments of `cargo xtask services`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Start servers on free ports of loopback and print their addresses
    #[command(after_help = NEEDED)]
    Up(Chosen),
    /// End them and remove their files
    Down(Chosen),
    /// Say which are up
    Status(Chosen),
}

#[derive(clap::Args)]
struct Chosen {
    /// kafka (one broker), kafka3 (three), redis (one server), sentinel (a master, two replicas, three Sentinels),
    /// cluster (three masters, three replicas); all when absent
    #[arg(value_name = "SERVICE", value_parser = PossibleValuesParser::new(Service::ALL.map(Service::name)))]
    services: Vec<String>,
}

const NEEDED: &str = "Kafka needs Java 17 or newer and Maven, which fetches its jars once (43 MB); Redis needs \
                      redis-server. `cargo xtask test` installs them on Debian.";

/// Starts, ends or looks at servers.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let background = Background::of(&workspace.target_dir()?.join("services"));
    match &args.command {
        Command::Up(chosen) => chosen.each(|service| up(&background, service)),
        Command::Down(chosen) => chosen.each(|service| {
            println!("{}: {} processes ended", service.name(), background.down(service)?);
            Ok(())
        }),
        Command::Status(chosen) => chosen.each(|service| status(&background, service)),
    }
}

impl Chosen {
    fn each(&self, run: impl Fn(Service) -> Result<()>) -> Result<()> {
        let named: Vec<Service> = self.services.iter().filter_map(|name| Service::named(name)).collect();
        let chosen = if named.is_empty() { Service::ALL.to_vec() } else { named };
        chosen.into_iter().try_for_each(run)
    }
}

fn up(background: &Background, service: Service) -> Result<()> {
    println!("{}: starting", service.name());
    let running = background.up(service)?;
    for group in running.chunk_by(|one, next| one.role == next.role) {
        let addresses: Vec<String> = group.iter().map(|server| server.address.to_string()).collect();
        println!("{}: {} {}", service.name(), group[0].role, addresses.join(","));
    }
    println!("  files and logs: {}", background.files(service).display());
    Ok(())
}

fn status(background: &Background, service: Service) -> Result<()> {
    let servers = background.status(service)?;
    if servers.is_empty() {
        println!("{}: down", service.name());
    }
    for (server, state) in servers {
        let state = match state {
            State::Up => "up",
            State::Hangs => "does not answer",
            State::Gone => "gone",
        };
        println!("{}: {} {} process {} {state}", service.name(), server.role, server.address, server.id);
    }
    Ok(())
}

/// What is not tested without the servers.
pub const SKIPPED: &str = "skipped because of --no-services: the tests against real servers (Kafka, Redis)";

/// The packages whose tests need real servers.
pub const PACKAGES: [&str; 3] = ["dualstream-services", "dualstream-backends", "dualstream-faults"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn packages_that_need_servers_are_members() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
        for package in PACKAGES {
            let folder = package.strip_prefix("dualstream-").unwrap();
            let is_member =
                ["", "crates/"].iter().any(|under| manifest.contains(&format!("\"{under}{folder}\"")));
            assert!(is_member, "{package}");
        }
    }
}
