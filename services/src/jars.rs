//! Kafka's jars, of the version that is tested and of old ones: fetched once with Maven, kept in the user's cache directory
//! for all checkouts and target directories.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// The version of Apache Kafka.
pub const KAFKA_VERSION: &str = "4.1.0";

/// Group, name and version.
type Artifact = (&'static str, &'static str, &'static str);

/// What is fetched, with what it depends on: the broker, its command line tools, and what lets it write its log.
const ARTIFACTS: [Artifact; 3] = [
    ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
    ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
    ("org.slf4j", "slf4j-simple", "1.7.36"),
];

const JAVA_VERSION_MIN: u32 = 17;

/// Held while this process fetches.
static FETCHING: Mutex<()> = Mutex::new(());

/// The class path of Kafka, fetched first if it is not there.
pub fn class_path() -> Result<String> {
    class_path_of(KAFKA_VERSION, &ARTIFACTS)
}

/// The class path of an old Kafka with its ZooKeeper.
pub(crate) fn old_class_path(version: &'static str) -> Result<String> {
    // Java has no `javax.xml.bind` any more.
    let artifacts = [("org.apache.kafka", "kafka_2.12", version), ("javax.xml.bind", "jaxb-api", "2.3.1")];
    class_path_of(version, &artifacts)
}

fn class_path_of(version: &str, artifacts: &[Artifact]) -> Result<String> {
    check_java()?;
    let dir = cache()?.join(format!("kafka-{version}"));
    let _one_at_a_time = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    if !dir.is_dir() {
        fetch(&dir, artifacts)?;
    }
    Ok(format!("{}/*", dir.display()))
}

fn cache() -> Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(named.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("dualstream-services"))
}

fn check_java() -> Result<()> {
    let mend = format!(
        "install a Java runtime of version {JAVA_VERSION_MIN} or newer (Debian: default-jre-headless)"
    );
    let output = Command::new("java").arg("-version").output();
    let output = output.with_context(|| format!("Kafka needs `java`: {mend}"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = version_of(&text).with_context(|| format!("`java -version` says `{text}`: {mend}"))?;
    ensure!(version >= JAVA_VERSION_MIN, "Kafka does not run on Java {version}: {mend}");
    Ok(())
}

/// The first number in quotes: `openjdk version "17.0.15" 2025-04-15`.
fn version_of(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    quoted.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Fetches into a directory beside `dir`, which gets its name when everything is there: of two processes that fetch at
/// the same time one does it in vain.
fn fetch(dir: &Path, artifacts: &[Artifact]) -> Result<()> {
    let fresh = dir.with_added_extension(format!("fetching-{}", std::process::id()));
    fs::create_dir_all(&fresh)?;
    let project = fresh.join("pom.xml");
    fs::write(&project, pom(artifacts))?;
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--file"]).arg(&project);
    maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg(format!("-DoutputDirectory={}", fresh.display())).stdin(Stdio::null());
    let output =
        maven.output().context("Kafka's jars are fetched with `mvn`: install Maven (Debian: maven)")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        fs::remove_dir_all(&fresh)?;
        bail!("cannot fetch Kafka's jars from Maven's repository:\n{said}");
    }
    if fs::rename(&fresh, dir).is_err() {
        fs::remove_dir_all(&fresh)?;
    }
    ensure!(dir.is_dir(), "cannot write {}", dir.display());
    Ok(())
}

fn pom(artifacts: &[Artifact]) -> String {
    let dependencies: String = artifacts
        .iter()
        .map(|(group, artifact, version)| {
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                 <version>{version}</version></dependency>"
            )
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>dualstream</groupId><artifactId>services</artifactId><version>1</version>\
         <packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_java_are_read() {
        assert_eq!(version_of("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(version_of("java version \"21\" 2023-09-19 LTS"), Some(21));
        assert_eq!(version_of("java version \"1.8.0_392\""), Some(1));
        assert_eq!(version_of("java: command not found"), None);
    }
}
