//! One broker of an old Kafka, with the ZooKeeper it needs: what those lack is told, and by what.
//!
//! Brokers before 0.11 have no idempotent producers, those before 2.3 cannot alter single settings. From 2.0 to 2.3 the
//! ZooKeeper client does not find its server on a Java of today (ZOOKEEPER-3779), so none of those can be started.

use super::java;
use crate::jars;
use crate::ports;
use crate::process::{Launch, Process};
use anyhow::Result;
use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// It starts in 3 s on a quiet machine.
const READY_MAX: Duration = Duration::from_secs(180);
/// What a broker writes when it serves.
const SERVES: &str = "started (kafka.server.KafkaServer)";

/// A broker of the past, ended with the value.
#[derive(Debug)]
pub struct OldKafka {
    /// Where it serves.
    pub address: SocketAddr,
    /// Ended before what it stands on.
    _broker: Process,
    _zookeeper: Process,
}

impl OldKafka {
    /// Starts a broker of this version (0.10.2 to 1.1) with its files in `dir`, and waits until it serves.
    pub fn start(dir: &Path, version: &'static str) -> Result<OldKafka> {
        let class_path = jars::old_class_path(version)?;
        ports::tried(|| OldKafka::try_start(dir, version, &class_path))
    }

    fn try_start(dir: &Path, version: &str, class_path: &str) -> Result<OldKafka> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        let free = ports::free(2)?;
        let (zookeeper_at, address) = (free[0], free[1]);
        let log4j = dir.join("log4j.properties");
        fs::write(&log4j, LOG4J)?;
        let start = |name: &str, class: &str, settings: String| {
            let file = dir.join(format!("{name}.properties"));
            fs::write(&file, settings)?;
            let options = [
                format!("-Dlog4j.configuration=file:{}", log4j.display()),
                "-Dzookeeper.jmx.log4j.disable=true".into(),
            ];
            let options = options.into_iter().map(OsString::from);
            Process::start(Launch {
                name: format!("{name} of Kafka {version}"),
                program: "java".into(),
                args: options.chain(java(class, class_path, [file.as_os_str().to_owned()])).collect(),
                log: dir.join(format!("{name}.log")),
                is_detached: false,
            })
        };
        let settings = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress={}\n",
            dir.join("zookeeper").display(),
            zookeeper_at.port(),
            zookeeper_at.ip(),
        );
        let class = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
        let mut zookeeper = start("zookeeper", class, settings)?;
        zookeeper.until(READY_MAX, "answers", || TcpStream::connect(zookeeper_at).is_ok())?;
        let settings = format!(
            "broker.id=1\nlisteners=PLAINTEXT://{address}\nzookeeper.connect={zookeeper_at}\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\nauto.create.topics.enable=false\n",
            dir.join("data").display(),
        );
        let mut broker = start("broker", "kafka.Kafka", settings)?;
        let log = broker.log().to_owned();
        let serves = || fs::read_to_string(&log).is_ok_and(|text| text.contains(SERVES));
        broker.until(READY_MAX, "serves", serves)?;
        Ok(OldKafka { address, _broker: broker, _zookeeper: zookeeper })
    }
}

const LOG4J: &str = "log4j.rootLogger=INFO, stdout\n\
    log4j.appender.stdout=org.apache.log4j.ConsoleAppender\n\
    log4j.appender.stdout.layout=org.apache.log4j.PatternLayout\n\
    log4j.appender.stdout.layout.ConversionPattern=%p %m (%c)%n\n";
