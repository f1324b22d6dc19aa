//! `dualstream instance` and `dualstream connection` against a real server.

use crate::event_source::EventSource;
use crate::program::run;
use crate::server::Server;

#[test]
fn clients_are_listed_and_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let human = |args: &[&str]| run(["--server", &server.url()].iter().chain(args));
    let mut streams: Vec<_> =
        (0..12).map(|_| EventSource::open(server.address, "/v1/stream?channel=events:*")).collect();

    let instances = server.client(&["instance", "list"]).json_lines();
    let [instance] = &instances[..] else { panic!("{instances:?}") };
    assert_eq!((&instance["own"], &instance["connections"]), (&true.into(), &12.into()), "{instance}");
    assert_eq!(instance["address"], server.address.to_string());
    let shown = human(&["instance", "list"]);
    assert!(shown.err.contains("without Redis"), "it says whose list it is: {shown:?}");
    let rows = shown.succeeded();
    let row = rows.lines().nth(1).unwrap_or_default();
    assert!(row.contains(&server.address.to_string()) && row.ends_with("asked"), "{rows}");

    let clients = server.client(&["connection", "list"]).json_lines();
    assert_eq!(clients.len(), 12);
    let id = clients[3]["id"].as_str().unwrap();
    let told = human(&["connection", "disconnect", id, "--reason", "enough of it"]).succeeded();
    assert_eq!(told, format!("disconnected {id}\n"));
    let left = human(&["connection", "list"]).succeeded();
    assert_eq!((left.lines().count(), left.contains(id)), (12, false), "a head and eleven: {left}");
    let own = instance["id"].as_str().unwrap();
    assert_eq!(human(&["connection", "list", "--instance", own]).succeeded(), left);
    assert_eq!(human(&["connection", "list", "--user", "nobody"]).succeeded().lines().count(), 1);

    let again = human(&["connection", "disconnect", id]);
    assert_eq!((again.code, again.err.contains("no client of this id")), (Some(1), true), "{again:?}");
    let wrong = human(&["connection", "disconnect", id, "--code", "4000", "--reconnect"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");

    for id in clients.iter().map(|client| client["id"].as_str().unwrap()) {
        human(&["connection", "disconnect", id]);
    }
    assert!(streams.iter_mut().all(|stream| stream.next().is_none()), "each has ended");
}
