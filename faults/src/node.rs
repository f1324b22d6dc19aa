//! A server as a process.

use crate::http::Connection;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// An ordered end that takes longer is none.
const END_MAX: Duration = Duration::from_secs(60);
/// What is to become of it must be said by then.
const SAID_MAX: Duration = Duration::from_secs(60);
const ASK: Duration = Duration::from_millis(20);

/// A node; killed with the value.
pub struct Node {
    /// Its name in the history.
    pub name: String,
    /// Where it serves, also after a restart.
    pub address: SocketAddr,
    dir: PathBuf,
    args: Vec<String>,
    child: Option<Child>,
}

impl Node {
    /// Starts a server with its files and its log in `dir/NAME`, and waits until it serves.
    ///
    /// # Errors
    /// When it does not start; its log says why.
    pub fn start(dir: &Path, name: &str, args: &[String]) -> Result<Node> {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut node = Node { name: name.to_owned(), address, dir, args: args.to_vec(), child: None };
        node.restart()?;
        Ok(node)
    }

    /// Starts a server that is to refuse: its exit code, and what it says.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn refused(dir: &Path, args: &[&str]) -> Result<(Option<i32>, String)> {
        let output = Command::new(program()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir.join("refused"))
            .args(args)
            .stdin(Stdio::null())
            .output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// Starts it again, at the same address and with the same files.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn restart(&mut self) -> Result<()> {
        let log = File::options().append(true).create(true).open(self.log())?;
        let mut child = Command::new(program()?)
            .args(["--output", "json", "serve", "--listen", &self.address.to_string(), "--data-dir"])
            .arg(self.data())
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().context("it has an output")?).read_line(&mut greeting)?;
        self.child = Some(child);
        ensure!(!greeting.is_empty(), "{} did not start; its log is {}", self.name, self.log().display());
        let greeting: serde_json::Value = serde_json::from_str(&greeting)?;
        let url = greeting["url"].as_str().and_then(|url| url.strip_prefix("http://"));
        self.address = url.context("it says where it serves")?.parse()?;
        Ok(())
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// When it had ended already.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks it to end, with SIGTERM; [`ended`](Node::ended) waits for it.
    ///
    /// # Errors
    /// When it has ended.
    pub fn terminate(&self) -> Result<()> {
        dualstream_services::process::terminate(self.process().context("it does not run")?)
    }

    /// Waits until it has ended by itself: its exit code.
    ///
    /// # Errors
    /// When it has not within a minute; its log says what it waits for.
    pub async fn ended(&mut self) -> Result<Option<i32>> {
        let child = self.child.as_mut().context("it does not run")?;
        let since = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            ensure!(
                since.elapsed() < END_MAX,
                "{} has not ended; its log is {}",
                self.name,
                self.log().display()
            );
            tokio::time::sleep(ASK).await;
        };
        self.child = None;
        Ok(status.code())
    }

    /// What it says of itself: the status, and the parts.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn health(&self) -> Result<(u16, serde_json::Value)> {
        let response = Connection::open(self.address).await?.get("/health/ready").await?;
        Ok((response.status().as_u16(), serde_json::from_slice(response.body())?))
    }

    /// Asks it how it is until it says so of the bus: `up` or `down`. It must be ready all the while.
    ///
    /// # Errors
    /// When it does not say so within a minute, or is not ready.
    pub async fn until_bus_is(&self, status: &str) -> Result<serde_json::Value> {
        let since = Instant::now();
        loop {
            let (code, said) = self.health().await?;
            ensure!(code == 200, "{} is ready without the bus too: {said}", self.name);
            if said["bus"]["status"] == status {
                // Other parts that need Redis may come back a little later.
                ensure!(status == "up" || said["status"] == "degraded", "{}: {said}", self.name);
                return Ok(said);
            }
            ensure!(
                since.elapsed() < SAID_MAX,
                "{}: the bus is not {status} within {SAID_MAX:?}: {said}",
                self.name
            );
            tokio::time::sleep(ASK).await;
        }
    }

    /// Waits until it says that it is ready: every part of it is up.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub async fn until_ready(&self) -> Result<()> {
        let since = Instant::now();
        loop {
            let (_, said) = self.health().await?;
            if said["status"] == "ready" {
                return Ok(());
            }
            ensure!(since.elapsed() < SAID_MAX, "{} is not ready within {SAID_MAX:?}: {said}", self.name);
            tokio::time::sleep(ASK).await;
        }
    }

    /// SIGSTOP: it hangs, its connections stay open.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> Result<()> {
        dualstream_services::process::pause(self.process().context("it does not run")?)
    }

    /// SIGCONT, after a pause.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> Result<()> {
        dualstream_services::process::resume(self.process().context("it does not run")?)
    }

    /// A number of its metrics page, by its whole name; all series of it together.
    ///
    /// # Errors
    /// When it does not answer, or has no such metric.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let response = Connection::open(self.address).await?.get("/metrics").await?;
        let page = std::str::from_utf8(response.body())?;
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        let values: Vec<f64> = page.lines().filter_map(value).collect();
        ensure!(!values.is_empty(), "{} has no metric {name}", self.name);
        Ok(values.iter().sum())
    }

    /// Its name and address, as readers want them.
    pub fn place(&self) -> (String, SocketAddr) {
        (self.name.clone(), self.address)
    }

    /// Where its log, or its mirror, is.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its process.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it logged.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program, built once: a test of another package cannot know that it is there.
///
/// # Errors
/// When it does not build.
pub fn program() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let own = std::env::current_exe()?;
    // target/PROFILE/deps/it-…
    let profile = own.parent().and_then(Path::parent).context("a test is in target/PROFILE/deps")?;
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "dualstream", "--bin", "dualstream", "--target-dir"]);
    command.arg(profile.parent().context("a profile is in a target directory")?);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    ensure!(command.status()?.success(), "the program does not build");
    Ok(profile.join("dualstream"))
}
