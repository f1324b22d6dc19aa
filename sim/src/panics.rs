//! Panics inside a run are findings of its seed, not the end of the program.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    /// On a thread that runs a seed: the first panic, if there was one.
    static WATCHED: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Ends the watch when dropped.
pub struct Watch(());

/// Keeps the panics of this thread from being printed, and remembers the first.
pub fn watch() -> Watch {
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let watched = WATCHED.with_borrow_mut(|first| match first {
                Some(first) => {
                    first.get_or_insert_with(|| info.to_string());
                    true
                }
                None => false,
            });
            if !watched {
                usual(info);
            }
        }));
    });
    WATCHED.set(Some(None));
    Watch(())
}

/// The first panic since the watch began.
pub fn last() -> Option<String> {
    WATCHED.with_borrow(|first| first.clone().flatten())
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.set(None);
    }
}
