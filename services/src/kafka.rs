//! Apache Kafka in KRaft mode: brokers that are controllers too, one or three of them.

use crate::jars;
use crate::ports;
use crate::process::{Launch, Process};
use anyhow::{Context, Result, bail, ensure};
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
/// Ports may be taken by another program between the look and the start.
const TRIES: u32 = 5;
/// 16 bytes in base64.
const CLUSTER_ID: &str = "ZHVhbHN0cmVhbS10ZXN0MQ";
const JAVA_OPTIONS: [&str; 3] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// A cluster.
#[derive(Debug)]
pub struct Kafka {
    /// Its brokers; the node id of `brokers[i]` is i + 1.
    pub brokers: Vec<Broker>,
    class_path: String,
}

/// One broker.
#[derive(Debug)]
pub struct Broker {
    /// Where it serves, also after a restart.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
}

impl Kafka {
    /// Starts a cluster of `count` brokers with their files in `dir`, and waits until each knows all of them.
    pub fn start(dir: &Path, count: usize, is_detached: bool) -> Result<Kafka> {
        let class_path = jars::class_path()?;
        let mut outcome = Kafka::try_start(dir, count, &class_path, is_detached);
        for _ in 1..TRIES {
            if outcome.as_ref().is_err_and(|error| format!("{error:#}").contains("Address already in use")) {
                outcome = Kafka::try_start(dir, count, &class_path, is_detached);
            }
        }
        outcome
    }

    fn try_start(dir: &Path, count: usize, class_path: &str, is_detached: bool) -> Result<Kafka> {
        ensure!(count > 0, "a cluster has a broker");
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        let addresses = ports::free(2 * count)?;
        let (clients, controllers) = addresses.split_at(count);
        let files = (0..count)
            .map(|index| configure(dir, index, clients, controllers))
            .collect::<Result<Vec<PathBuf>>>()?;
        format(&files, class_path)?;
        let mut brokers = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let launch = Launch {
                name: format!("Kafka broker {}", index + 1),
                program: "java".into(),
                args: java("kafka.Kafka", class_path, [file.as_os_str().to_owned()]),
                log: file.with_extension("log"),
                is_detached,
            };
            brokers.push(Broker { address: clients[index], process: Process::start(launch)? });
        }
        let mut kafka = Kafka { brokers, class_path: class_path.to_owned() };
        kafka.until_ready()?;
        Ok(kafka)
    }

    /// The addresses of all brokers, as clients want them.
    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(|broker| broker.address.to_string()).collect::<Vec<_>>().join(",")
    }

    /// Waits until every broker answers and knows all of them. They must all run.
    pub fn until_ready(&mut self) -> Result<()> {
        let count = self.brokers.len();
        for broker in &mut self.brokers {
            let address = broker.address;
            let knows_all = || brokers_known(address).is_ok_and(|known| known == count);
            broker.process.until(READY_MAX, "knows all brokers", knows_all)?;
        }
        Ok(())
    }

    /// Starts a broker again after its end, and waits until all know each other.
    pub fn restart(&mut self, index: usize) -> Result<()> {
        self.brokers[index].process.restart()?;
        self.until_ready()
    }

    /// What one of Kafka's command line tools prints, for example `org.apache.kafka.tools.TopicCommand`.
    pub fn tool(&self, class: &str, args: &[&str]) -> Result<String> {
        let bootstrap = ["--bootstrap-server".to_owned(), self.bootstrap()];
        let args = bootstrap.into_iter().chain(args.iter().map(|&arg| arg.to_owned())).map(OsString::from);
        run_java(class, &self.class_path, args)
    }
}

/// Writes the settings of a broker: their file.
fn configure(
    dir: &Path,
    index: usize,
    clients: &[SocketAddr],
    controllers: &[SocketAddr],
) -> Result<PathBuf> {
    let own = dir.join(format!("broker-{}", index + 1));
    fs::create_dir_all(&own)?;
    let (node, client, controller) = (index + 1, clients[index], controllers[index]);
    let voters: Vec<String> =
        controllers.iter().enumerate().map(|(index, address)| format!("{}@{address}", index + 1)).collect();
    let replicas = clients.len().min(3);
    let in_sync = replicas.div_ceil(2);
    let settings = format!(
        "process.roles=broker,controller\n\
         node.id={node}\n\
         controller.quorum.voters={voters}\n\
         listeners=PLAINTEXT://{client},CONTROLLER://{controller}\n\
         advertised.listeners=PLAINTEXT://{client}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={data}\n\
         auto.create.topics.enable=false\n\
         default.replication.factor={replicas}\n\
         min.insync.replicas={in_sync}\n\
         offsets.topic.replication.factor={replicas}\n\
         transaction.state.log.replication.factor={replicas}\n\
         transaction.state.log.min.isr={in_sync}\n\
         share.coordinator.state.topic.replication.factor={replicas}\n\
         share.coordinator.state.topic.min.isr={in_sync}\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\n",
        voters = voters.join(","),
        data = own.join("data").display(),
    );
    let file = own.join("server.properties");
    fs::write(&file, settings)?;
    Ok(file)
}

/// Prepares the directories of all brokers, at the same time: most of it is the start of Java.
fn format(files: &[PathBuf], class_path: &str) -> Result<()> {
    std::thread::scope(|scope| {
        let format = |file: &PathBuf| {
            let args = ["format", "--cluster-id", CLUSTER_ID, "--config"].map(OsString::from);
            let args = args.into_iter().chain([file.as_os_str().to_owned()]);
            run_java("kafka.tools.StorageTool", class_path, args).map(drop)
        };
        let threads: Vec<_> = files.iter().map(|file| scope.spawn(move || format(file))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("formatting does not panic"))
    })
}

fn java(class: &str, class_path: &str, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let own = JAVA_OPTIONS.into_iter().chain(["-cp", class_path, class]).map(OsString::from);
    own.chain(args).collect()
}

fn run_java(class: &str, class_path: &str, args: impl IntoIterator<Item = OsString>) -> Result<String> {
    let mut command = Command::new("java");
    command.args(java(class, class_path, args)).stdin(Stdio::null());
    let output = command.output().context("cannot start java")?;
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
