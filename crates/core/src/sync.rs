//! Locks and atomics of the hub and the bus, as a seam: `races/` builds this crate with others, which let it try the
//! orders in which threads may come to them (ADR 12). Everywhere else they are the standard library's.

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
#[cfg(not(shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
