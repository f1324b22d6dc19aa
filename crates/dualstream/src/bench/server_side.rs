//! What the server says it costs: its processor time, from `/metrics`.

use crate::client::{Connection, Request, Server};

/// Asks the server.
pub struct ServerSide {
    connection: Connection,
}

impl ServerSide {
    /// Nothing is asked yet.
    pub fn new(server: &Server) -> ServerSide {
        ServerSide { connection: Connection::new(server) }
    }

    /// Processor time of all its threads in seconds, if it tells.
    pub async fn cpu_seconds(&mut self) -> Option<f64> {
        self.metric("dualstream_process_cpu_seconds_total ").await
    }

    /// Its resident memory in bytes, if it tells.
    pub async fn memory_bytes(&mut self) -> Option<f64> {
        self.metric("dualstream_process_resident_memory_bytes ").await
    }

    async fn metric(&mut self, name: &str) -> Option<f64> {
        let page = self.connection.fetch(&Request::get("/metrics")).await.ok()?;
        let page = std::str::from_utf8(&page).ok()?;
        page.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
    }
}
