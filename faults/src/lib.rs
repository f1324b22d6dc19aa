//! Nodes under faults: real servers as processes, publishers that try again and readers that come back, all of it recorded
//! for the history checker.
//!
//! It is a test tool: nothing of dualstream is in it but the program, its HTTP API and how a position is written.
#![forbid(unsafe_code)]

pub mod audience;
pub mod bus_stage;
pub mod cluster;
pub mod fleet;
pub mod history;
pub mod http;
pub mod listener;
pub mod load;
pub mod node;
pub mod publisher;
pub mod reader;
pub mod sdk;
pub mod socket;
pub mod stage;
pub mod stream;

pub use audience::Audience;
pub use bus_stage::BusStage;
pub use cluster::Cluster;
pub use fleet::Fleet;
pub use listener::Listener;
pub use load::Load;
pub use node::Node;
pub use publisher::{Event, Outcomes, Publisher};
pub use reader::Reader;
pub use sdk::{Sdk, Way};
pub use stage::Stage;
