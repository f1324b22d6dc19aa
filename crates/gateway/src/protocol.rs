//! The wire types of the client protocol: version 2 of the open Centrifuge protocol, in JSON.
//!
//! A frame of a client is one or more commands, a frame of the server one or more replies, one line each. Everything a
//! client can send is read in [`command`], everything it can get is written in [`reply`] and [`publication`].
//!
//! What is not here: Protobuf, deltas, map and shared-poll subscriptions, dictionaries, tokens.

pub mod carrier;
pub mod command;
pub mod disconnect;
pub mod publication;
pub mod refusal;
pub mod reply;

pub use carrier::Carrier;
pub use command::{Command, Request};
pub use disconnect::Disconnect;
pub use refusal::Refusal;
