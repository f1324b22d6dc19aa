//! Free ports of loopback, for servers that cannot bind port 0 themselves.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// So many different addresses that were free a moment ago. Another program may be faster: whoever starts a server on
/// them tries again with others when it cannot bind.
pub fn free(count: usize) -> Result<Vec<SocketAddr>> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind a port of loopback");
    // All are held until the last is found, or the system may give the same one twice.
    let held = (0..count).map(|_| bind()).collect::<Result<Vec<_>>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?)).collect()
}
