//! Who may cancel what: the keys given out at start-up.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use engine::Cancel;

/// Keys by backend process number.
#[derive(Default)]
pub(crate) struct CancelKeys(Mutex<HashMap<i32, (Vec<u8>, Cancel)>>);

impl CancelKeys {
    /// A session begins.
    pub(crate) fn insert(&self, process: i32, key: Vec<u8>, cancel: Cancel) {
        self.lock().insert(process, (key, cancel));
    }

    /// A session ends.
    pub(crate) fn remove(&self, process: i32) {
        self.lock().remove(&process);
    }

    /// Cancels what that session runs if the key is its own; says nothing either way, as the protocol wants it.
    pub(crate) fn cancel(&self, process: i32, key: &[u8]) {
        let found = match self.lock().get(&process) {
            Some((own, cancel)) if equal(own, key) => Some(cancel.clone()),
            _ => None,
        };
        if let Some(cancel) = found {
            cancel.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, (Vec<u8>, Cancel)>> {
        // The map is whole after a panic: its operations don't call anything of ours.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In a time that doesn't tell how much of it is right.
fn equal(own: &[u8], key: &[u8]) -> bool {
    own.len() == key.len() && own.iter().zip(key).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_cancels() {
        let keys = CancelKeys::default();
        let cancel = Cancel::default();
        keys.insert(7, vec![1, 2, 3, 4], cancel.clone());
        keys.cancel(7, &[1, 2, 3]);
        keys.cancel(7, &[1, 2, 3, 5]);
        keys.cancel(8, &[1, 2, 3, 4]);
        assert!(!cancel.is_cancelled());
        keys.cancel(7, &[1, 2, 3, 4]);
        assert!(cancel.is_cancelled());
        keys.remove(7);
    }
}
