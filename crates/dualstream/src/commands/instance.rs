//! `dualstream instance`: the nodes there are.

use super::block_on;
use crate::client::nodes::{Instance, Instances, Scope};
use crate::client::{Connection, Request};
use crate::output::Format;
use crate::shown::harmless;
use crate::table::Table;
use crate::{Global, exit, output};
use console::Style;

/// What to do with nodes.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Lists nodes: all of them where they share a Redis, else the one that is asked
    #[command(after_help = "Example:
  dualstream instance list")]
    List,
}

/// Does it.
pub fn run(command: Command, global: &Global) -> anyhow::Result<()> {
    let mut connection = Connection::new(global.server());
    let Command::List = command;
    block_on(async move {
        let answer = connection.fetch(&Request::get("/v1/instances")).await?;
        let strange = |error: serde_json::Error| connection.strange(error.to_string());
        let Instances { scope, instances } = serde_json::from_slice(&answer).map_err(strange)?;
        if global.output == Format::Json {
            return Ok(instances.iter().try_for_each(|instance| output::line(instance.get()))?);
        }
        let read = |instance: &&serde_json::value::RawValue| serde_json::from_str(instance.get());
        let instances: Vec<Instance> =
            instances.iter().map(read).collect::<Result<_, _>>().map_err(strange)?;
        tell_scope(scope);
        Ok(lines(&instances).iter().try_for_each(|line| output::line(line))?)
    })
}

/// Says that there may be more than a list shows.
pub(super) fn tell_scope(scope: Scope) {
    if scope == Scope::Node {
        exit::tell(format_args!("of the node that was asked alone: without Redis it knows of no other"));
    }
}

fn lines(instances: &[Instance]) -> Vec<String> {
    let mut table = Table::new(&["INSTANCE", "ADDRESS", "VERSION", "STARTED", ">CONNECTIONS", ""]);
    for Instance { id, version, address, started, connections, own } in instances {
        let own = if *own { "asked" } else { "" };
        let cells = [id, address, version, started].map(|text| harmless(text));
        table.row(cells.into_iter().chain([output::count(*connections), own.to_owned()]));
    }
    table.lines(&Style::new().bold())
}
