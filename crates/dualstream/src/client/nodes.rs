//! What the API says about nodes and their clients.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The list of nodes, each as it came.
#[derive(Debug, Deserialize)]
pub struct Instances<'a> {
    /// Whose list it is.
    pub scope: Scope,
    /// By id.
    #[serde(borrow)]
    pub instances: Vec<&'a RawValue>,
}

/// A page of clients, each as it came.
#[derive(Debug, Deserialize)]
pub struct Connections<'a> {
    /// Whose list it is.
    pub scope: Scope,
    /// By node and id.
    #[serde(borrow)]
    pub connections: Vec<&'a RawValue>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// Whose list it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Of all nodes.
    Cluster,
    /// Of the one that answers.
    Node,
}

/// A node.
#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    /// Names this run of it.
    pub id: String,
    /// Of its program.
    pub version: String,
    /// Where it listens.
    pub address: String,
    /// When it started.
    pub started: String,
    /// How many clients it has.
    pub connections: u64,
    /// Whether it is the one that answers.
    pub own: bool,
}

/// A client.
#[derive(Clone, Debug, Deserialize)]
pub struct Client {
    /// The node it is connected to.
    pub instance: String,
    /// Its id.
    pub id: String,
    /// Who it is; empty when anonymous.
    pub user: String,
    /// What carries it.
    pub transport: String,
    /// What it says it is.
    pub name: String,
    /// Of that.
    pub version: String,
    /// When it connected.
    pub connected: String,
    /// Where it came from.
    pub remote: Option<String>,
}

/// What became of an order to disconnect one.
#[derive(Clone, Debug, Deserialize)]
pub struct Disconnected {
    /// It is told already; else the node that has it will tell it, if one does.
    pub disconnected: bool,
}
