//! Settings from outside: what is refused, where it says so, and with which exit code. The whole table of bad values is
//! in the settings' own tests; here is one of each kind, through the program.

use crate::program::{Outcome, dualstream, finish, run};
use std::fs;
use tempfile::TempDir;

/// A folder with a settings file.
fn file(text: impl AsRef<[u8]>) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn with_variable(name: &str, value: &str, args: &[&str]) -> Outcome {
    finish(dualstream().args(args).env(name, value).spawn().unwrap())
}

#[track_caller]
fn is_refused(outcome: &Outcome, told: &str) {
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(78), ""), "{outcome:?}");
    assert!(outcome.err.contains(told), "{told:?} is not in {}", outcome.err);
}

#[test]
fn a_bad_file_is_refused_by_serve_and_by_check() {
    for (text, told) in [
        (
            "listen = \"127.0.0.1:0\"\n[log]\ntopc = \"x\"",
            "t.toml:3:1: unknown setting `log.topc`; did you mean `log.topic`?",
        ),
        (
            "[log]\npartitions = \"12\"",
            "t.toml:2:1: `log.partitions` wants a whole number from 1 to 10000, got the string \"12\"",
        ),
        ("[log]\ntopic = \"a\"\ntopic = \"b\"", "t.toml:3:1: `topic` is given twice"),
        ("[log]\n[log]\n", "t.toml:2:"),
        (
            "[limits]\ntargets_max = 100001",
            "`limits.targets_max` wants a whole number from 1 to 100000, got the number 100001",
        ),
        ("[log]\nretention_bytes = 0", "or \"unlimited\", got the number 0"),
        ("[log]\nretention = \"0s\"", "from 1s to 36500d, or \"unlimited\", got the string \"0s\""),
        ("[namespaces.dualstream]\nstream = \"bus\"", "the namespace `dualstream` is not free"),
        (
            "[namespaces.x]\nstream = \"bus\"\ntopic = \"y\"",
            "`namespaces.x.topic` and `namespaces.x.stream = \"bus\"` contradict each other",
        ),
        ("listen = \"0.0.0.0:8000\"", "t.toml:1:1: `listen` is 0.0.0.0:8000, which other machines can reach"),
        (
            "[log]\nkafka = \"localhost\"",
            "t.toml:2:1: `log.kafka`: an address of Kafka is host:port, several with commas, and not 'localhost'",
        ),
        ("[log]\nkafka = \"localhost:9092\"\n[kafka]\nacks = 1", "t.toml:4:1: `kafka.acks` cannot be set"),
        (
            "[log]\nkafka = \"localhost:9092\"\n[kafka]\nsocket.nonsense = true",
            "t.toml:4:8: `kafka.socket.nonsense`",
        ),
        ("[kafka]\nclient.id = \"x\"", "`kafka.client.id` has no effect: `log.kafka` names no brokers"),
        (
            "[bus]\nredis = \"redis://a\"\nsharded = true",
            "t.toml:3:1: `bus.sharded`: sharded Pub/Sub is for a Redis Cluster (redis+cluster://), and this is none",
        ),
        (
            "[auth.jwt]\nhmac_secret_file = \"s\"",
            "`auth.jwt.hmac_secret_file` is not available: this build has no authentication",
        ),
        ("listen = ", "t.toml:1:"),
    ] {
        let (_folder, path) = file(text);
        is_refused(&run(["config", "check", &path]), told);
        is_refused(&run(["serve", "--config", &path]), told);
        is_refused(&with_variable("DUALSTREAM_CONFIG", &path, &["serve"]), told);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let (folder, path) = file(b"\xff\xfe");
    is_refused(&run(["config", "check", &path]), &path);
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    is_refused(&run(["serve", "--config", &path]), "1048577 bytes; a settings file has at most 1048576");
    let missing = folder.path().join("missing.toml").display().to_string();
    is_refused(&run(["config", "check", &missing]), &format!("{missing}: No such file"));
    is_refused(&run(["serve", "--config", &missing]), &format!("--config: {missing}: No such file"));
    is_refused(&run(["serve", "--config", folder.path().to_str().unwrap()]), "directory");
}

#[test]
fn flags_and_variables_are_named_when_they_are_wrong() {
    for (args, told) in [
        (&["serve", "--listen", "8000"][..], "--listen: `listen` wants an address and port"),
        (&["serve", "--listen", "0.0.0.0:1"], "--listen: `listen` is 0.0.0.0:1"),
        (&["serve", "--data-dir", ""], "--data-dir: `data_dir` wants a path"),
        (&["serve", "--kafka", "localhost"], "--kafka: `log.kafka`: an address of Kafka is host:port"),
        (
            &["serve", "--redis", "localhost"],
            "--redis: `bus.redis`: this is no address of Redis: it begins with",
        ),
        (&["serve", "--set", "log.fsync=never"], "--set: `log.fsync` wants \"always\", or a period"),
        (
            &["serve", "--set", "log.partition=3"],
            "--set: unknown setting `log.partition`; did you mean `log.partitions`?",
        ),
    ] {
        is_refused(&run(args), told);
    }
    for (name, value, told) in [
        ("DUALSTREAM_LISTEN", "x", "environment variable DUALSTREAM_LISTEN: `listen` wants"),
        (
            "DUALSTREAM_LOG_KAFKA",
            "x",
            "environment variable DUALSTREAM_LOG_KAFKA: `log.kafka`: an address of Kafka is host:port",
        ),
        ("DUALSTREAM_LIMITS_TARGETS_MAX", "0", "`limits.targets_max` wants a whole number from 1"),
    ] {
        is_refused(&with_variable(name, value, &["serve"]), told);
        is_refused(&with_variable(name, value, &["config", "check"]), told);
    }
}

#[test]
fn a_variable_that_means_nothing_is_warned_about() {
    let outcome = with_variable("DUALSTREAM_LISTN", "x", &["config", "check"]);
    let told = "warning: environment variable DUALSTREAM_LISTN: no setting has this name; did you mean `DUALSTREAM_LISTEN`?";
    assert!(outcome.err.contains(told), "{outcome:?}");
    assert_eq!(outcome.succeeded(), "the settings are fine\n");
    // Of the server, which then goes on to fail for another reason.
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    let outcome = with_variable("DUALSTREAM_LISTN", "x", &["serve", "--data-dir", blocked.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.err.contains("WARN") && outcome.err.contains("DUALSTREAM_LISTN: no setting"),
        "{outcome:?}"
    );
}

#[test]
fn the_default_file_is_fine_and_so_is_none() {
    let (_folder, path) = file(run(["config", "default"]).succeeded());
    assert_eq!(run(["config", "check", &path]).succeeded(), "the settings are fine\n");
    assert_eq!(run(["--output", "json", "config", "check"]).succeeded(), "{\"ok\":true}\n");
}

#[test]
fn the_reference_page_is_what_the_program_prints() {
    let page = include_str!("../../../../docs/reference/settings.md");
    assert!(run(["config", "doc"]).succeeded() == page, "dualstream config doc > docs/reference/settings.md");
}

/// The parts of JSON Schema that the schema uses, against a value.
fn conforms(schema: &serde_json::Value, value: &toml::Value, at: &str) {
    if let Some(any) = schema["anyOf"].as_array() {
        assert!(
            any.iter().any(|one| one["const"].as_str() == value.as_str() || one["type"] == "string"),
            "{at}"
        );
        return;
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.iter().any(|word| word.as_str() == value.as_str()), "{at}");
        return;
    }
    let kind = match value {
        toml::Value::Table(_) => "object",
        toml::Value::Array(_) => "array",
        toml::Value::Integer(_) => "integer",
        toml::Value::Boolean(_) => "boolean",
        _ => "string",
    };
    assert_eq!(schema["type"], kind, "{at}");
    for (name, inner) in value.as_table().into_iter().flatten() {
        let property = &schema["properties"][name];
        let property = if property.is_null() { &schema["additionalProperties"] } else { property };
        assert!(property.is_object(), "{at}.{name} is not in the schema");
        conforms(property, inner, &format!("{at}.{name}"));
    }
}

#[test]
fn the_schema_fits_the_default_file() {
    let schema: serde_json::Value = serde_json::from_str(&run(["config", "schema"]).succeeded()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    let partitions = &schema["properties"]["log"]["properties"]["partitions"];
    assert_eq!((&partitions["minimum"], &partitions["maximum"]), (&1.into(), &10_000.into()));
    let defaults = run(["config", "default"]).succeeded().parse::<toml::Table>().unwrap();
    conforms(&schema, &toml::Value::Table(defaults), "");
}
