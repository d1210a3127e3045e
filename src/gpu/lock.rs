//! Locks of this floor.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A poisoned lock only means that another thread panicked; what these locks guard stays consistent.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
