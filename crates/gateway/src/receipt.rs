//! What became of an event, as JSON.

use crate::Problem;
use dualstream_core::event::codec::push_string;
use dualstream_core::publisher::{Failure, Receipt};
use http::StatusCode;
use std::fmt::Write;

/// Members of a stored event, without braces.
pub fn push_receipt(out: &mut String, receipt: &Receipt) {
    out.push_str("\"id\":");
    push_string(out, &receipt.id);
    let position = receipt.position;
    let _ = write!(out, ",\"position\":\"{position}\",\"topic\":\"{}\"", receipt.topic);
    let _ = write!(out, ",\"partition\":{},\"offset\":{},\"channel\":", position.partition, position.offset);
    push_string(out, &receipt.channel);
    if receipt.duplicate {
        out.push_str(",\"duplicate\":true");
    }
}

/// Members of an outcome among others, without braces: a status, and the receipt or what went wrong.
pub fn push_outcome(out: &mut String, outcome: Result<Receipt, Failure>) -> StatusCode {
    match outcome {
        Ok(receipt) => {
            out.push_str("\"status\":201,");
            push_receipt(out, &receipt);
            StatusCode::CREATED
        }
        Err(failure) => {
            let problem = Problem::from(failure);
            out.push_str(&problem.members());
            problem.status()
        }
    }
}
