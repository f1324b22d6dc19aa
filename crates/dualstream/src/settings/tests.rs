//! Tests of the settings: the default file, the order of sources, and a table of bad input.

use super::*;

fn load(text: &str, variables: &[(&str, &str)], flags: &[(&str, &str, &str)]) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    std::fs::write(&path, text).unwrap();
    let sources = Sources {
        file: Some(path.clone()),
        environment: Environment::read(variables.iter().map(|(name, value)| (name.into(), value.into()))),
        flags: flags.iter().map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())).collect(),
    };
    sources.load().map_err(|problems| problems.to_string().replace(&path.display().to_string(), "t.toml"))
}

#[test]
fn the_default_file_says_the_defaults() {
    assert_eq!(Settings::parse("default.toml", DEFAULT_TOML).unwrap(), Settings::default());
}

#[test]
fn the_default_file_shows_every_setting_in_the_order_of_the_table() {
    let (assignments, problems) = file::parse("default.toml", DEFAULT_TOML);
    assert_eq!(problems, []);
    let shown: Vec<String> = assignments.into_iter().filter(|a| a.given.is_some()).map(|a| a.path).collect();
    let known: Vec<String> = table::FIELDS.iter().map(|field| field.path.replace('*', "events")).collect();
    assert_eq!(shown, known);
}

#[test]
fn every_value_that_is_shown_is_taken_again() {
    let mut settings = Settings::default();
    for field in table::FIELDS {
        let shown = field.slot(&mut settings, Some("events")).show();
        let text = Given::text(shown.trim_matches(['"', '[', ']']));
        assert!(field.slot(&mut settings, Some("events")).take(&text, field.range), "{}", field.path);
    }
    assert_eq!(settings, Settings::default());
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "[log]\npartitions = 3\nretention = \"2d\"\ntopic = \"from-file\"\n";
    let variables = [("DUALSTREAM_LOG_PARTITIONS", "4"), ("DUALSTREAM_LOG_RETENTION", "3d")];
    let settings = load(file, &variables, &[("--set", "log.partitions", "5")]).unwrap().settings;
    assert_eq!(settings.log.partitions, 5);
    assert_eq!(settings.log.retention, Some(Period::days(3)));
    assert_eq!(settings.log.topic.as_str(), "from-file");
    assert_eq!(settings.log.segment_bytes, Size::mebibytes(64));
}

#[test]
fn every_setting_has_its_variable() {
    let mut variables = Vec::new();
    for field in table::FIELDS {
        let shown = field.slot(&mut Settings::default(), Some("events")).show();
        variables.push((field.variable().replace('*', "EVENTS"), shown));
    }
    let environment = Environment::read(variables.iter().map(|(name, value)| (name.into(), value.into())));
    assert_eq!(environment.warnings, []);
    let mut set: Vec<String> = environment.assignments.into_iter().map(|a| a.path).collect();
    let mut known: Vec<String> =
        table::FIELDS.iter().map(|field| field.path.replace('*', "events")).collect();
    set.sort();
    known.sort();
    assert_eq!(set, known);
}

#[test]
fn unknown_variables_are_warned_about_with_the_nearest_name() {
    let loaded =
        load("", &[("DUALSTREAM_LOG_TOPC", "x"), ("DUALSTREAM_SERVER", "x"), ("OTHER", "x")], &[]).unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(Problem::to_string).collect();
    assert_eq!(
        warnings,
        [
            "environment variable DUALSTREAM_LOG_TOPC: no setting has this name; did you mean `DUALSTREAM_LOG_TOPIC`?"
        ]
    );
}

#[test]
fn namespaces_get_their_topics() {
    let file = "[log]\ntopic = \"main\"\n[namespaces.chat]\n[namespaces.news]\ntopic = \"paper\"\n[namespaces.tokens]\nstream = \"bus\"\n";
    let namespaces = load(file, &[("DUALSTREAM_NAMESPACES_CHAT_LIVE_FEED", "false")], &[]).unwrap().settings;
    let topics: Vec<String> =
        namespaces.namespaces().iter().map(|n| format!("{}={}", n.name, n.topic)).collect();
    assert_eq!(topics, ["chat=chat", "events=main", "news=paper", "tokens=tokens"]);
    assert!(!namespaces.namespaces["chat"].live_feed);
}

#[test]
fn a_namespace_may_conflate() {
    let file =
        "[namespaces.board]\nstream = \"bus\"\nslow_client = \"conflate\"\nconflate_key = \"/widgetId\"\n";
    let namespaces = load(file, &[], &[]).unwrap().settings.namespaces();
    let key = ConflateKey::new("/widgetId").unwrap();
    let wanted = [namespace::SlowClient::Conflate(key), namespace::SlowClient::Disconnect];
    let found: Vec<_> = namespaces.iter().map(|namespace| namespace.slow_client.clone()).collect();
    assert_eq!(found, wanted);
}

#[test]
fn bad_input_is_refused_with_its_place_and_what_is_wanted() {
    for (file, expected) in [
        ("listn = \"x\"", "t.toml:1:1: unknown setting `listn`; did you mean `listen`?"),
        ("[log]\ntopc = \"x\"", "t.toml:2:1: unknown setting `log.topc`; did you mean `log.topic`?"),
        ("[lgo]\n", "t.toml:1:2: unknown section `lgo`; did you mean `log`?"),
        (
            "[namespaces.chat]\nstram = \"bus\"",
            "t.toml:2:1: unknown setting `namespaces.chat.stram`; did you mean `namespaces.chat.stream`?",
        ),
        (
            "[log]\npartitions = \"many\"",
            "t.toml:2:1: `log.partitions` wants a whole number from 1 to 10000, got the string \"many\"",
        ),
        (
            "[log]\npartitions = 0",
            "t.toml:2:1: `log.partitions` wants a whole number from 1 to 10000, got the number 0",
        ),
        ("[log]\npartitions = -1", "got the number -1"),
        ("[log]\npartitions = 10001", "got the number 10001"),
        ("[log]\npartitions = 99999999999999999999", "got the number 99999999999999999999"),
        ("[log]\npartitions = 1.5", "got a number with a fraction"),
        ("[log]\npartitions = [1]", "got an array"),
        (
            "[log]\nretention = 0",
            "t.toml:2:1: `log.retention` wants a period like \"5s\", from 1s to 36500d, or \"unlimited\", got the number 0",
        ),
        ("[log]\nretention_bytes = \"0B\"", "or \"unlimited\", got the string \"0B\""),
        (
            "[log]\nsegment_bytes = 1048576",
            "`log.segment_bytes` wants a size like \"64MiB\", from 1MiB to 4095MiB, got the number 1048576",
        ),
        (
            "[log]\nfsync = \"never\"",
            "`log.fsync` wants \"always\", or a period like \"5s\", from 1us to 1m, got the string \"never\"",
        ),
        ("[log]\ntopic = \"a/b\"", "`log.topic` wants a topic name"),
        ("[log]\ntopic = \"__guards\"", "`log.topic` wants a topic name"),
        ("[log]\ntopic = \"a\"\ntopic = \"b\"", "t.toml:3:1: `topic` is given twice"),
        ("[log]\ntopic = ", "t.toml:2:"),
        ("log = 1", "t.toml:1:1: unknown setting `log`"),
        ("[listen]\n", "t.toml:1:2: `listen` wants a value, got a section"),
        ("[namespaces]\nchat = 1", "t.toml:2:1: unknown setting `namespaces.chat`"),
        (
            "[namespaces.\"Chat room\"]\n",
            "t.toml:1:13: the namespace `Chat room` is not 1 to 64 of [a-z0-9_-]",
        ),
        (
            "[namespaces.x]\nstream = \"kafka\"",
            "`namespaces.x.stream` wants \"dual\", \"log\" or \"bus\", got the string \"kafka\"",
        ),
        (
            "[namespaces.x]\nlive_feed = \"yes\"",
            "`namespaces.x.live_feed` wants true or false, got the string \"yes\"",
        ),
        ("listen = \"0.0.0.0:8000\"", "t.toml:1:1: `listen` is 0.0.0.0:8000, which other machines can reach"),
        (
            "[http]\nallowed_origins = [\"*\"]",
            "`http.allowed_origins` wants an array of at most 64 origins like [\"http://localhost:3000\"], got the array of \"*\"",
        ),
        ("[http]\nallowed_origins = [1]", "got an array"),
        (
            "[http]\nallowed_hosts = [\"box:8000\"]",
            "`http.allowed_hosts` wants an array of at most 64 names or addresses like \
             [\"host.docker.internal\", \"10.0.0.7\"], got the array of \"box:8000\"",
        ),
        ("[http]\nallowed_hosts = [\"*\"]", "`http.allowed_hosts`"),
        ("listen = \"example.org\"", "`listen` wants an address and port"),
        (
            "default_namespace = \"chat\"",
            "t.toml:1:1: `default_namespace` names \"chat\", but there is no `[namespaces.chat]`",
        ),
        (
            "[namespaces.x]\nstream = \"bus\"\ntopic = \"y\"",
            "t.toml:3:1: `namespaces.x.topic` and `namespaces.x.stream = \"bus\"` contradict",
        ),
        (
            "[namespaces.x]\nstream = \"log\"\nlive_feed = false",
            "t.toml:3:1: `namespaces.x.live_feed` and `namespaces.x.stream = \"log\"` contradict",
        ),
        ("[namespaces.events]\nstream = \"bus\"", "t.toml:2:1: `namespaces.events.stream` wants"),
        (
            "[log]\nretention_bytes = \"1MiB\"",
            "`log.retention_bytes` (1MiB) is less than `log.segment_bytes` (64MiB)",
        ),
        (
            "[limits]\nping_interval = \"5s\"",
            "`limits.pong_max` (8s) is not less than `limits.ping_interval` (5s): a ping is answered",
        ),
        ("[limits]\ncommands_burst = 0", "wants a whole number from 1 to 1000000, got the number 0"),
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
        ("[bus]\nprefix = \"x:\"", "t.toml:2:1: `bus.prefix` has no effect: `bus.redis` names no Redis"),
        (
            "[bus]\nredis = \"redis://a\"\nprefix = \"*\"",
            "t.toml:3:1: `bus.prefix`: a prefix is up to 64 bytes",
        ),
        (
            "[bus]\nredis = \"redis://:secret@\"",
            "t.toml:2:1: `bus.redis`: this is no address of Redis: a host is a name or an address",
        ),
        (
            "[bus]\nredis = \"redis://a\"\nca_file = \"x\"",
            "t.toml:3:1: `bus.ca_file` has no effect: `bus.redis` is not reached over TLS",
        ),
        (
            "[bus]\nredis = \"redis://a\"\nsentinel_password_file = \"x\"",
            "t.toml:3:1: `bus.sentinel_password_file` has no effect: `bus.redis` names no Sentinels",
        ),
        ("[auth.jwt]\nhmac_secret_file = \"x\"", "is not available: this build has no authentication"),
        (
            "[namespaces.x]\nslow_client = \"drop\"",
            "`namespaces.x.slow_client` wants \"disconnect\" or \"conflate\", got the string \"drop\"",
        ),
        (
            "[namespaces.x]\nslow_client = \"conflate\"\nconflate_key = \"widgetId\"",
            "t.toml:3:1: `namespaces.x.conflate_key` wants a JSON pointer like \"/widgetId\", or \"\", got the string",
        ),
        (
            "[namespaces.x]\nconflate_key = \"/widgetId\"",
            "t.toml:2:1: `namespaces.x.conflate_key` has no effect: nothing is conflated by it unless",
        ),
        ("[namespaces.x]\npresence = true", "`namespaces.x.presence` is not available"),
    ] {
        let message = load(file, &[], &[]).expect_err(file);
        assert!(message.contains(expected), "{file:?}\n got: {message}\nwant: {expected}");
    }
}

#[test]
fn environment_and_flags_are_named_too() {
    let variables = [("DUALSTREAM_LISTEN", "0.0.0.0:1"), ("DUALSTREAM_LOG_KAFKA", "k")];
    let message = load("", &variables, &[("--set", "log.x", "1")]).unwrap_err();
    assert!(message.contains("environment variable DUALSTREAM_LISTEN: `listen` is 0.0.0.0:1"), "{message}");
    assert!(
        message.contains(
            "environment variable DUALSTREAM_LOG_KAFKA: `log.kafka`: an address of Kafka is host:port"
        ),
        "{message}"
    );
    assert!(message.contains("--set: unknown setting `log.x`"), "{message}");
}

#[test]
fn all_problems_are_told_at_once() {
    let message = load("a = 1\nb = 2\n[log]\npartitions = 0\n", &[], &[]).unwrap_err();
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn the_reference_page_is_up_to_date() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/settings.md");
    let written = std::fs::read_to_string(page).unwrap_or_default();
    assert!(written == reference::markdown(), "run `dualstream config doc > docs/reference/settings.md`");
}

#[test]
fn the_schema_knows_every_setting() {
    let schema = reference::schema();
    for field in table::FIELDS {
        let mut pointer = String::new();
        for part in field.path.split('.') {
            pointer.push_str(if part == "*" { "/additionalProperties" } else { "/properties/" });
            pointer.push_str(if part == "*" { "" } else { part });
        }
        let found = schema.pointer(&pointer).unwrap_or_else(|| panic!("{pointer}"));
        assert!(found["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", field.path);
    }
}
