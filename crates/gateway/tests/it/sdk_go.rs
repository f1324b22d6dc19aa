//! The public Go SDK against this gateway: one that does not track the epochs of publications. It recovers a channel, and is
//! told of a pattern that it cannot recover.
//!
//! The SDK is pinned in `tests/go/go.sum`. It needs Go 1.22; an older one, such as Debian 12 has, is used to fetch a newer
//! one as the module it is published as. Where there is no Go at all the test says so and is left out, but not on a build
//! machine (`CI`), where everything is installed.

use crate::sdk::{CHANNEL, Follower, PATTERN, publish};
use crate::server::Server;
use crate::tiny_log::TinyLog;
use dualstream_core::hub;
use dualstream_gateway::Settings;
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

const MINOR_MIN: u32 = 22;
const TOOLCHAIN: &str = "golang.org/toolchain@v0.0.1-go1.23.12";

/// The program, built; `None` without Go.
async fn follower() -> Option<Command> {
    let go = go().await?;
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("follow-go");
    let mut build = Command::new(go);
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go"));
    build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg(".");
    build.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOTOOLCHAIN", "local");
    output(&mut build).await;
    Some(Command::new(program))
}

/// A Go that is new enough.
async fn go() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let mut dirs = std::env::split_paths(&path).chain(["/usr/local/go/bin".into(), "/usr/lib/go/bin".into()]);
    let Some(go) = dirs.find_map(|dir| Some(dir.join("go")).filter(|file| file.is_file())) else {
        let missing = "the test of the Go SDK needs Go: `cargo xtask test` installs it on Debian";
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        // Past the capture of output: a test that is left out is seen.
        std::io::stderr().write_all(format!("left out: {missing}\n").as_bytes()).unwrap();
        return None;
    };
    let version = output(Command::new(&go).arg("version").env("GOTOOLCHAIN", "local")).await;
    let minor = version.split_once("go1.").unwrap().1.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    match minor.parse::<u32>().unwrap() {
        MINOR_MIN.. => Some(go),
        _ => Some(newer(&go).await),
    }
}

/// Fetches a newer Go with an old one.
async fn newer(go: &Path) -> PathBuf {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let module = format!("{TOOLCHAIN}.linux-{arch}");
    // Outside of any module.
    let answer = output(Command::new(go).args(["mod", "download", "-json", &module]).current_dir("/")).await;
    let root = PathBuf::from(serde_json::from_str::<Value>(&answer).unwrap()["Dir"].as_str().unwrap());
    for folder in [root.join("bin"), root.join(format!("pkg/tool/linux_{arch}"))] {
        for file in std::fs::read_dir(folder).unwrap() {
            // What is in a module cannot be run.
            let runs = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(file.unwrap().path(), runs).unwrap();
        }
    }
    root.join("bin/go")
}

async fn output(command: &mut Command) -> String {
    let done = command.output().await.unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test]
async fn an_sdk_without_epochs_recovers_a_channel_and_is_told_of_a_pattern() {
    let Some(program) = follower().await else { return };
    let log = Arc::new(TinyLog::new());
    let settings = Settings { drain: Duration::from_millis(1), ..Settings::default() };
    let start = async |listen: &str| {
        Server::over(log.clone(), settings.clone(), hub::Settings::default(), listen).await
    };
    let mut server = start("127.0.0.1:0").await;
    let address = server.address.to_string();
    let mut sdk = Follower::start(program, &format!("ws://{address}/connection/websocket"), 937);
    let mut seen = Vec::new();
    sdk.until_subscribed(&mut seen).await;
    publish(&server, 0..310).await;
    while seen.iter().filter(|line| line["at"] == "publication").count() < 320 {
        seen.push(sdk.next().await.expect("the SDK goes on"));
    }
    server.stop();
    (&mut server.task).await.unwrap();
    let before = seen.len();
    // What the pattern misses stands in the log before its SDK is back.
    let other = start("127.0.0.1:0").await;
    publish(&other, 310..620).await;
    let server = start(&address).await;
    sdk.until_subscribed(&mut seen).await;
    publish(&server, 620..937).await;
    // Events of one batch have no order among them but that of their keys: the last one comes alone.
    publish(&server, 937..938).await;
    while let Some(line) = sdk.next().await {
        seen.push(line);
    }
    let recovered = |name: &str| {
        let again = seen[before..].iter().find(|line| line["at"] == "subscribed" && line["name"] == name);
        again.map(|line| (line["wasRecovering"] == true, line["recovered"] == true)).unwrap()
    };
    assert_eq!(recovered(CHANNEL), (true, true));
    assert_eq!(recovered(PATTERN), (true, false), "told, never guessed");
    let numbers = |name: &str| -> Vec<u64> {
        let own = seen.iter().filter(|line| line["at"] == "publication" && line["name"] == name);
        own.map(|line| line["number"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(CHANNEL), (0..938).filter(|n| n % 31 == 7).collect::<Vec<_>>());
    let wanted: Vec<u64> = (0..310).chain(620..938).collect();
    let mut on_pattern = numbers(PATTERN);
    on_pattern.sort_unstable();
    assert_eq!(on_pattern, wanted, "everything but what it missed");
    assert!(seen.iter().all(|line| line["at"] != "unsubscribed" && line["at"] != "error"), "{seen:?}");
}
