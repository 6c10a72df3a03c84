//! [`Watched`]: what the triggers of this process have seen of their containers, and which of them share leases.
//!
//! A trigger that starts "from now" must not miss the first changes of a container that is made while it listens: such a
//! container is read from its beginning.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A function and the container that it listens to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Listener {
    pub(crate) function: String,
    /// `{account}/{database}/{container}`.
    pub(crate) container: String,
}

/// A container as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Missing,
    There {
        rid: String,
        /// Whether it was made while its function listened, and has no leases yet.
        made_meanwhile: bool,
    },
}

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    seen: HashMap<Listener, Seen>,
    /// Which functions use the leases of this name at present.
    shared: HashMap<String, Vec<String>>,
}

/// A function's use of leases; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct LeaseUse {
    watched: Watched,
    leases: String,
    function: String,
}

impl Watched {
    /// Notes that the container is missing; whether that is news.
    pub(crate) fn missing(&self, listener: &Listener) -> bool {
        self.with(|state| state.seen.insert(listener.clone(), Seen::Missing) != Some(Seen::Missing))
    }

    /// Notes that the container is there; whether it was made while the function listened.
    pub(crate) fn found(&self, listener: &Listener, found: &str) -> bool {
        self.with(|state| {
            let made_meanwhile = match state.seen.get(listener) {
                None => false,
                Some(Seen::Missing) => true,
                Some(Seen::There { rid, made_meanwhile }) => rid != found || *made_meanwhile,
            };
            let seen = Seen::There { rid: found.to_owned(), made_meanwhile };
            state.seen.insert(listener.clone(), seen);
            made_meanwhile
        })
    }

    /// Notes that the container has leases: from here on they say where its feed is read from.
    pub(crate) fn has_leases(&self, listener: &Listener) {
        self.with(|state| {
            if let Some(Seen::There { made_meanwhile, .. }) = state.seen.get_mut(listener) {
                *made_meanwhile = false;
            }
        });
    }

    /// Notes that a function uses leases, and another function that uses the same ones.
    pub(crate) fn uses(&self, leases: String, function: &str) -> (LeaseUse, Option<String>) {
        let other = self.with(|state| {
            let users = state.shared.entry(leases.clone()).or_default();
            users.push(function.to_owned());
            users.iter().find(|user| *user != function).cloned()
        });
        (LeaseUse { watched: self.clone(), leases, function: function.to_owned() }, other)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for LeaseUse {
    fn drop(&mut self) {
        self.watched.with(|state| {
            let Some(users) = state.shared.get_mut(&self.leases) else { return };
            if let Some(index) = users.iter().position(|user| *user == self.function) {
                users.swap_remove(index);
            }
            if users.is_empty() {
                state.shared.remove(&self.leases);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> Listener {
        Listener { function: "changed".to_owned(), container: "host/d/c".to_owned() }
    }

    #[test]
    fn a_container_that_is_made_while_its_function_listens_is_told_apart() {
        let watched = Watched::default();
        assert!(!watched.found(&listener(), "one"), "it was there from the start");
        assert!(!watched.found(&listener(), "one"));
        assert!(watched.found(&listener(), "two"), "made anew");
        assert!(watched.found(&listener(), "two"), "until it has leases, also after a failure");
        watched.has_leases(&listener());
        assert!(!watched.found(&listener(), "two"));
        assert!(watched.missing(&listener()));
        assert!(!watched.missing(&listener()), "no news");
        assert!(watched.found(&listener(), "three"));
    }

    #[test]
    fn functions_that_share_leases_are_named_while_both_live() {
        let watched = Watched::default();
        let (first, other) = watched.uses("leases".to_owned(), "a");
        assert_eq!(other, None);
        let (again, other) = watched.uses("leases".to_owned(), "a");
        assert_eq!(other, None, "a function that starts again is no other one");
        assert_eq!(watched.uses("prefix-leases".to_owned(), "b").1, None);
        assert_eq!(watched.uses("leases".to_owned(), "b").1.as_deref(), Some("a"));
        drop((first, again));
        assert_eq!(watched.uses("leases".to_owned(), "b").1, None);
    }
}
