//! Apache Kafka in KRaft mode: brokers that are controllers too, one or three of them; plain or with TLS and passwords,
//! reached directly or through a fault proxy each.

mod client;
mod old;
mod setup;

pub use client::{Client, Mechanism};
pub use old::OldKafka;
pub use setup::{Security, Setup};

use crate::jars;
use crate::ports;
use crate::process::{Launch, Process};
use crate::proxy::Proxy;
use crate::tls::Authority;
use anyhow::{Context, Result, bail, ensure};
use setup::{Addresses, Tls};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A broker starts in 3 s on a quiet machine.
const READY_MAX: Duration = Duration::from_secs(180);
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// 16 bytes in base64.
const CLUSTER_ID: &str = "ZHVhbHN0cmVhbS10ZXN0MQ";
const JAVA_OPTIONS: [&str; 3] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// A cluster.
#[derive(Debug)]
pub struct Kafka {
    /// Its brokers; the node id of `brokers[i]` is i + 1.
    pub brokers: Vec<Broker>,
    class_path: String,
    dir: PathBuf,
    setup: Setup,
    tls: Option<Tls>,
}

/// One broker.
#[derive(Debug)]
pub struct Broker {
    /// Where it serves clients, also after a restart.
    pub address: SocketAddr,
    /// Where it serves brokers and [`Kafka::tool`]: plain, never through a proxy.
    pub inner: SocketAddr,
    /// What clients reach it through, in a cluster that is [`proxied`](Setup::proxied).
    pub proxy: Option<Proxy>,
    /// The process.
    pub process: Process,
}

impl Kafka {
    /// Starts a cluster of `count` brokers with their files in `dir`, and waits until each knows all of them. A
    /// [`Setup`] starts others.
    pub fn start(dir: &Path, count: usize, is_detached: bool) -> Result<Kafka> {
        Setup::new(count).detached(is_detached).start(dir)
    }

    fn of(dir: &Path, setup: Setup) -> Result<Kafka> {
        let class_path = jars::class_path()?;
        ports::tried(|| Kafka::try_start(dir, &setup, &class_path))
    }

    fn try_start(dir: &Path, setup: &Setup, class_path: &str) -> Result<Kafka> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        let count = setup.brokers;
        let tls = setup.security.has_tls().then(|| Tls::create(&dir.join("tls"))).transpose()?;
        let free = ports::free(3 * count)?;
        let (clients, others) = free.split_at(count);
        let (inner, controllers) = others.split_at(count);
        let proxies =
            clients.iter().map(|&client| setup.is_proxied.then(|| Proxy::start(client)).transpose());
        let proxies: Vec<Option<Proxy>> = proxies.collect::<Result<_>>()?;
        let configure = |(index, proxy): (usize, &Option<Proxy>)| {
            let advertised = proxy.as_ref().map_or(clients[index], Proxy::address);
            setup.configure(dir, &Addresses { index, clients, inner, controllers, advertised }, tls.as_ref())
        };
        let files = proxies.iter().enumerate().map(configure).collect::<Result<Vec<PathBuf>>>()?;
        format(&files, class_path, &setup.scram())?;
        let mut brokers = Vec::new();
        for ((index, file), proxy) in files.iter().enumerate().zip(proxies) {
            let launch = Launch {
                name: format!("Kafka broker {}", index + 1),
                program: "java".into(),
                args: java("kafka.Kafka", class_path, [file.as_os_str().to_owned()]),
                log: file.with_extension("log"),
                is_detached: setup.is_detached,
            };
            let process = Process::start(launch)?;
            brokers.push(Broker { address: clients[index], inner: inner[index], proxy, process });
        }
        let (class_path, dir) = (class_path.to_owned(), dir.to_owned());
        let mut kafka = Kafka { brokers, class_path, dir, setup: setup.clone(), tls };
        kafka.until_ready()?;
        Ok(kafka)
    }

    /// The addresses of all brokers, as clients want them: those of the proxies where there are any.
    pub fn bootstrap(&self) -> String {
        joined(self.brokers.iter().map(|broker| broker.proxy.as_ref().map_or(broker.address, Proxy::address)))
    }

    /// The addresses of all brokers that need no password, whatever happens to clients.
    pub fn inner_bootstrap(&self) -> String {
        joined(self.brokers.iter().map(|broker| broker.inner))
    }

    /// Who signed the certificates of a cluster with TLS.
    pub fn authority(&self) -> Option<&Authority> {
        self.tls.as_ref().map(|tls| &tls.authority)
    }

    /// Waits until every broker that was not ended answers and knows all the others like it.
    pub fn until_ready(&mut self) -> Result<()> {
        let count = self.brokers.iter().filter(|broker| broker.process.id().is_some()).count();
        for broker in self.brokers.iter_mut().filter(|broker| broker.process.id().is_some()) {
            let address = broker.inner;
            let knows_all = || brokers_known(address).is_ok_and(|known| known == count);
            broker.process.until(READY_MAX, "knows all brokers", knows_all)?;
        }
        Ok(())
    }

    /// Starts a broker again after its end, and waits until all that run know each other. Most of the brokers must run
    /// then: they are the controllers too.
    pub fn restart(&mut self, index: usize) -> Result<()> {
        self.brokers[index].process.restart()?;
        self.until_ready()
    }

    /// Starts all brokers again that were ended, and waits until all know each other.
    pub fn restart_ended(&mut self) -> Result<()> {
        let mut ended = self.brokers.iter_mut().filter(|broker| broker.process.id().is_none());
        ended.try_for_each(|broker| broker.process.restart())?;
        self.until_ready()
    }

    /// What one of Kafka's command line tools prints, for example `org.apache.kafka.tools.TopicCommand`; it is let in
    /// without a password, and past the proxies.
    pub fn tool(&self, class: &str, args: &[&str]) -> Result<String> {
        self.run(class, self.inner_bootstrap(), args, "")
    }

    /// The same with something to read, for example `org.apache.kafka.tools.ConsoleProducer`.
    pub fn tool_fed(&self, class: &str, args: &[&str], input: &str) -> Result<String> {
        self.run(class, self.inner_bootstrap(), args, input)
    }

    /// The same as a client: through the proxies, and let in by what [`client_settings`](Kafka::client_settings) wrote,
    /// if `args` name that.
    pub fn client_tool(&self, class: &str, args: &[&str], input: &str) -> Result<String> {
        self.run(class, self.bootstrap(), args, input)
    }

    fn run(&self, class: &str, bootstrap: String, args: &[&str], input: &str) -> Result<String> {
        let bootstrap = ["--bootstrap-server".to_owned(), bootstrap];
        let args = bootstrap.into_iter().chain(args.iter().map(|&arg| arg.to_owned())).map(OsString::from);
        run_java(class, &self.class_path, args, input)
    }
}

fn joined(addresses: impl Iterator<Item = SocketAddr>) -> String {
    addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(",")
}

/// Prepares the directories of all brokers, at the same time: most of it is the start of Java.
fn format(files: &[PathBuf], class_path: &str, scram: &[String]) -> Result<()> {
    std::thread::scope(|scope| {
        let format = |file: &PathBuf| {
            let args = ["format", "--cluster-id", CLUSTER_ID, "--config"].map(OsString::from);
            let users = scram.iter().flat_map(|user| ["--add-scram".into(), OsString::from(user)]);
            let args = args.into_iter().chain([file.as_os_str().to_owned()]).chain(users);
            run_java("kafka.tools.StorageTool", class_path, args, "").map(drop)
        };
        let threads: Vec<_> = files.iter().map(|file| scope.spawn(move || format(file))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("formatting does not panic"))
    })
}

fn java(class: &str, class_path: &str, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let own = JAVA_OPTIONS.into_iter().chain(["-cp", class_path, class]).map(OsString::from);
    own.chain(args).collect()
}

fn run_java(
    class: &str,
    class_path: &str,
    args: impl IntoIterator<Item = OsString>,
    input: &str,
) -> Result<String> {
    let mut command = Command::new("java");
    command.args(java(class, class_path, args));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start java")?;
    let stdin = child.stdin.take().context("its input is a pipe")?;
    // What it says is read at the same time, or both could wait for each other. One that ends early needs no more input.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || { &stdin }.write_all(input.as_bytes()));
        child.wait_with_output()
    })?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{class} failed:\n{said}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(said)
}

/// Asks a broker how many brokers it knows: a Metadata request, version 4, for no topics
/// (<https://kafka.apache.org/protocol#The_Messages_Metadata>).
pub fn brokers_known(address: SocketAddr) -> Result<usize> {
    const CORRELATION: i32 = 7;
    let mut request = Vec::new();
    request.extend_from_slice(&3_i16.to_be_bytes());
    request.extend_from_slice(&4_i16.to_be_bytes());
    request.extend_from_slice(&CORRELATION.to_be_bytes());
    request.extend_from_slice(&(-1_i16).to_be_bytes());
    request.extend_from_slice(&0_i32.to_be_bytes());
    request.push(0);
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(&u32::try_from(request.len())?.to_be_bytes())?;
    stream.write_all(&request)?;
    // Length, correlation id, throttle time, number of brokers.
    let mut answer = [0; 16];
    stream.read_exact(&mut answer)?;
    let number = |at: usize| i32::from_be_bytes([answer[at], answer[at + 1], answer[at + 2], answer[at + 3]]);
    ensure!(number(4) == CORRELATION, "{address} is no Kafka broker");
    Ok(usize::try_from(number(12))?)
}
