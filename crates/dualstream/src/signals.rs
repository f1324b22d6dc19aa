//! SIGINT and SIGTERM: the first one asks for an orderly end, the second one ends the process at once.

use anyhow::Context;
use std::future::Future;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Resolves with the first signal. A thread of its own listens, so that the second one ends the process whatever the
/// others are waiting for, with the code a shell gives to that signal.
///
/// # Errors
/// What the operating system says.
pub fn first() -> anyhow::Result<impl Future<Output = ()>> {
    let context = "cannot listen for signals";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context(context)?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context(context)?;
    let mut terminate = signal(SignalKind::terminate()).context(context)?;
    drop(entered);
    let (told, stop) = oneshot::channel();
    let listen = async move {
        let mut told = Some(told);
        loop {
            let code = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            };
            match told.take() {
                // Whoever waited may be past stopping; then the next signal ends it.
                Some(told) => drop(told.send(())),
                None => std::process::exit(code),
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(listen))
        .context(context)?;
    Ok(async {
        if stop.await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
