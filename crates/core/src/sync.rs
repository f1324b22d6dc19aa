//! Locks and atomics of the hub and the bus, as a seam: `races/` builds this crate with others, which let it try the
//! orders in which threads may come to them (ADR 12). Everywhere else they are the standard library's.

#[cfg(shuttle)]
pub(crate) use once::OnceLock;
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
#[cfg(not(shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};

/// Shuttle has none of its own; who waits for the standard library's keeps the one thread that all run on.
#[cfg(shuttle)]
mod once {
    use std::sync::PoisonError;

    #[derive(Debug, Default)]
    pub(crate) struct OnceLock<T> {
        making: super::Mutex<()>,
        made: std::sync::OnceLock<T>,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> OnceLock<T> {
            OnceLock { making: super::Mutex::new(()), made: std::sync::OnceLock::new() }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            self.made.get()
        }

        pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            if self.made.get().is_none() {
                // Nobody else makes it now.
                let _ = self.made.set(make());
            }
            self.made.get().expect("it was just made")
        }
    }
}
