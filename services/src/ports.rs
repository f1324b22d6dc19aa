//! Free ports of loopback, for servers that cannot bind port 0 themselves.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Another program may take a port between the look and the start, not again and again.
const TRIES: u32 = 5;

/// So many different addresses that were free a moment ago. Another program may be faster: whoever starts a server on
/// them does so in a loop of a few tries.
pub fn free(count: usize) -> Result<Vec<SocketAddr>> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind a port of loopback");
    // All are held until the last is found, or the system may give the same one twice.
    let held = (0..count).map(|_| bind()).collect::<Result<Vec<_>>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?)).collect()
}

/// Starts something on free ports, and again on others when one of them was taken meanwhile.
pub(crate) fn tried<T>(start: impl Fn() -> Result<T>) -> Result<T> {
    let mut outcome = start();
    for _ in 1..TRIES {
        if outcome.as_ref().is_err_and(|error| format!("{error:#}").contains("Address already in use")) {
            outcome = start();
        }
    }
    outcome
}
