//! `dualstream connection`: who is connected, to any node, and an end to it.

use super::block_on;
use super::instance::tell_scope;
use crate::client::nodes::{Client, Connections, Disconnected};
use crate::client::{Connection, Request};
use crate::output::Format;
use crate::shown::harmless;
use crate::table::Table;
use crate::{Global, output};
use anyhow::Context;
use console::Style;
use form_urlencoded::{Serializer, byte_serialize};
use http::Method;
use serde_json::value::RawValue;

/// Connections of a page: as many as the server gives.
const PAGE: usize = 1_000;

/// What to do with connections.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Lists who is connected: to all nodes where they share a Redis, else to the one that is asked
    #[command(after_help = "Example:
  dualstream connection list --user octocat")]
    List {
        /// To this node only
        #[arg(long, value_name = "ID")]
        instance: Option<String>,
        /// Of this user only
        #[arg(long)]
        user: Option<String>,
    },
    /// Disconnects a client, whichever node it is connected to
    #[command(after_help = "Examples:
  dualstream connection disconnect 0b7f6f0e-6a6b-4f0e-9f3d-1c2b3a495867
  dualstream connection disconnect 0b7f6f0e-6a6b-4f0e-9f3d-1c2b3a495867 --reconnect --reason 'moving you'")]
    Disconnect {
        /// Its id
        id: String,
        /// It is to come back at once
        #[arg(long, conflicts_with = "code")]
        reconnect: bool,
        /// A close code instead, 3000 to 4999
        #[arg(long)]
        code: Option<u16>,
        /// What it is told, at most 123 bytes
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Does it.
pub fn run(command: Command, global: &Global) -> anyhow::Result<()> {
    let mut connection = Connection::new(global.server());
    let format = global.output;
    block_on(async move {
        match command {
            Command::List { instance, user } => {
                let filters = [("instance", instance), ("user", user)];
                list(&mut connection, format, &filters).await
            }
            Command::Disconnect { id, reconnect, code, reason } => {
                let reconnect = reconnect.then(|| "true".to_owned());
                let code = code.map(|code| code.to_string());
                let parameters = [("reconnect", reconnect), ("code", code), ("reason", reason)];
                disconnect(&mut connection, format, &id, &parameters).await
            }
        }
    })
}

async fn list(
    connection: &mut Connection,
    format: Format,
    filters: &[(&str, Option<String>)],
) -> anyhow::Result<()> {
    let limit = PAGE.to_string();
    let (mut after, mut all) = (None, Vec::new());
    loop {
        let page = [("limit", Some(limit.clone())), ("after", after)];
        let target = format!("/v1/connections?{}", query(filters.iter().chain(&page)));
        let answer = connection.fetch(&Request::get(target)).await?;
        let strange = |error: serde_json::Error| connection.strange(error.to_string());
        let Connections { scope, connections, next } = serde_json::from_slice(&answer).map_err(strange)?;
        match format {
            Format::Json => connections.iter().try_for_each(|client| output::line(client.get()))?,
            Format::Human => {
                let read = |client: &&RawValue| serde_json::from_str::<Client>(client.get());
                let read: Result<Vec<Client>, _> = connections.iter().map(read).collect();
                all.extend(read.map_err(strange)?);
            }
        }
        if next.is_some() {
            after = next;
            continue;
        }
        if format == Format::Human {
            tell_scope(scope);
            lines(&all).iter().try_for_each(|line| output::line(line))?;
        }
        return Ok(());
    }
}

async fn disconnect(
    connection: &mut Connection,
    format: Format,
    id: &str,
    parameters: &[(&str, Option<String>)],
) -> anyhow::Result<()> {
    let name: String = byte_serialize(id.as_bytes()).collect();
    let target = format!("/v1/connections/{}?{}", name.replace('+', "%20"), query(parameters));
    let request = Request { method: Method::DELETE, ..Request::get(target.trim_end_matches('?')) };
    let answer = connection.fetch(&request).await?;
    let told: Disconnected = serde_json::from_slice(&answer).context("the server's answer")?;
    Ok(output::line(&match (format, told.disconnected) {
        (Format::Json, _) => String::from_utf8_lossy(&answer).into_owned(),
        (Format::Human, true) => format!("disconnected {id}"),
        (Format::Human, false) => format!("ordered whichever node has {id} to disconnect it"),
    })?)
}

fn query<'a>(parameters: impl IntoIterator<Item = &'a (&'a str, Option<String>)>) -> String {
    let given = parameters.into_iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    Serializer::new(String::new()).extend_pairs(given).finish()
}

fn lines(clients: &[Client]) -> Vec<String> {
    let heads = ["CONNECTION", "USER", "TRANSPORT", "CLIENT", "FROM", "CONNECTED", "INSTANCE"];
    let mut table = Table::new(&heads);
    for Client { instance, id, user, transport, name, version, connected, remote } in clients {
        let said = format!("{name} {version}");
        let remote = remote.as_deref().unwrap_or("-");
        let user = if user.is_empty() { "-" } else { user };
        let cells = [id, user, transport, said.trim(), remote, connected, instance];
        table.row(cells.map(harmless));
    }
    table.lines(&Style::new().bold())
}
