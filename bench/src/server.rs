//! A server in a process of its own: the released program, as anybody would run it.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Clock ticks of `/proc/PID/stat`: `USER_HZ`, 100 on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;
const START_MAX: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(1);

/// A running server; killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub address: SocketAddr,
    /// From its start until it took a connection.
    pub started: Duration,
}

impl Server {
    /// Starts `program` on a data directory and waits until it listens. What it says goes into a file beside the data.
    pub fn start(program: &Path, data_dir: &Path) -> Result<Self> {
        Server::start_with(program, data_dir, &[])
    }

    /// The same with further arguments of `serve`.
    pub fn start_with(program: &Path, data_dir: &Path, more: &[&str]) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = File::create(data_dir.with_extension("log"))?;
        let begun = Instant::now();
        let process = Command::new(program)
            .args(["serve", "--listen", &address.to_string(), "--data-dir"])
            .arg(data_dir)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| {
                format!("cannot start {}: `cargo build --release -p dualstream`", program.display())
            })?;
        let mut server = Server { process, address, started: Duration::ZERO };
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.process.try_wait()? {
                let said = fs::read_to_string(data_dir.with_extension("log")).unwrap_or_default();
                bail!("the server ended with {status}: {said}");
            }
            if begun.elapsed() > START_MAX {
                bail!("the server does not listen");
            }
            thread::sleep(POLL);
        }
        server.started = begun.elapsed();
        Ok(server)
    }

    /// CPU time of all its threads, in user and system mode.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The second field is the name in parentheses and may hold spaces; fields 14 and 15 are the times.
        let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat has no name")?;
        let ticks: Vec<u64> = fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(Duration::from_secs_f64(ticks.iter().sum::<u64>() as f64 / TICKS_PER_SECOND))
    }

    /// Resident memory in bytes: all of it, and what is not backed by files.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find(|line| line.starts_with(name)).context("/proc/PID/status")?;
            let kib: String = line.chars().filter(char::is_ascii_digit).collect();
            Ok(kib.parse::<u64>()? * 1024)
        };
        Ok((field("VmRSS:")?, field("RssAnon:")?))
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Ends it in order.
    pub fn stop(mut self) -> Result<()> {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM)?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, or nobody needs it any more.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
