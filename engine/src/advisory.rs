//! Advisory locks: numbers that sessions agree about. A lock is one session's until it gives it back as often as it took it, or ends.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What is locked: PostgreSQL has one space of single numbers and one of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    One(i64),
    Pair(i64, i64),
}

/// Who holds a lock, and how often.
#[derive(Debug)]
struct Held {
    session: i32,
    times: u32,
}

/// The locks of all sessions.
#[derive(Debug, Default)]
pub(crate) struct AdvisoryLocks {
    held: Mutex<HashMap<Key, Held>>,
    released: Notify,
}

impl AdvisoryLocks {
    /// Takes a lock if no other session has it.
    pub(crate) fn try_lock(&self, session: i32, key: Key) -> bool {
        match self.held.lock().entry(key) {
            Entry::Occupied(mut held) => {
                let own = held.get().session == session;
                if own {
                    held.get_mut().times += 1;
                }
                own
            }
            Entry::Vacant(free) => {
                free.insert(Held { session, times: 1 });
                true
            }
        }
    }

    /// Takes a lock, waiting for it.
    pub(crate) async fn lock(&self, session: i32, key: Key) {
        loop {
            // Whoever releases between the attempt and the wait is heard.
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if self.try_lock(session, key) {
                return;
            }
            released.await;
        }
    }

    /// Gives a lock back once; whether the session had it.
    pub(crate) fn unlock(&self, session: i32, key: Key) -> bool {
        let mut locks = self.held.lock();
        let Some(held) = locks.get_mut(&key).filter(|held| held.session == session) else { return false };
        held.times -= 1;
        if held.times == 0 {
            locks.remove(&key);
            drop(locks);
            self.released.notify_waiters();
        }
        true
    }

    /// Gives back all that a session has.
    pub(crate) fn unlock_all(&self, session: i32) {
        self.held.lock().retain(|_, held| held.session != session);
        self.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_sessions_until_it_is_given_back_as_often_as_taken() {
        let locks = AdvisoryLocks::default();
        let key = Key::One(7);
        assert!(locks.try_lock(1, key) && locks.try_lock(1, key));
        assert!(!locks.try_lock(2, key));
        assert!(locks.try_lock(2, Key::Pair(0, 7)));
        assert!(!locks.unlock(2, key));
        assert!(locks.unlock(1, key));
        assert!(!locks.try_lock(2, key));
        assert!(locks.unlock(1, key));
        assert!(locks.try_lock(2, key));
        locks.unlock_all(2);
        assert!(locks.try_lock(1, key) && locks.try_lock(1, Key::Pair(0, 7)));
    }

    #[tokio::test]
    async fn who_waits_gets_it_when_the_holder_ends() {
        let locks = std::sync::Arc::new(AdvisoryLocks::default());
        assert!(locks.try_lock(1, Key::One(1)));
        let waiting = tokio::spawn({
            let locks = locks.clone();
            async move { locks.lock(2, Key::One(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        locks.unlock_all(1);
        assert!(waiting.await.is_ok());
        assert!(!locks.try_lock(1, Key::One(1)));
    }
}
