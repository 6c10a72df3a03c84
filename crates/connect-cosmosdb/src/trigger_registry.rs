//! [`TriggerRegistry`]: whether the containers of the triggers of this process exist, and which triggers share leases.
//!
//! A trigger that starts "from now" must not miss the first changes of a container that is created while it listens: such
//! a container is read from its beginning.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A function and the container that it listens to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TriggerId {
    pub(crate) function: String,
    /// `{account}/{database}/{container}`.
    pub(crate) container: String,
}

/// The last known state of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ContainerState {
    Missing,
    Exists {
        rid: String,
        /// Whether it was created while its function listened, and has no leases yet.
        created_while_listening: bool,
    },
}

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct TriggerRegistry(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    containers: HashMap<TriggerId, ContainerState>,
    /// The functions that use the leases of this name now.
    shared: HashMap<String, Vec<String>>,
}

/// A function's use of leases; dropping it ends the use.
#[derive(Debug)]
pub(crate) struct LeaseUse {
    triggers: TriggerRegistry,
    leases: String,
    function: String,
}

impl TriggerRegistry {
    /// Records that the container is missing; `true` if it was not recorded as missing before.
    pub(crate) fn missing(&self, trigger_id: &TriggerId) -> bool {
        self.with(|state| {
            state.containers.insert(trigger_id.clone(), ContainerState::Missing)
                != Some(ContainerState::Missing)
        })
    }

    /// Records that the container exists; `true` if it was created while the function listened.
    pub(crate) fn found(&self, trigger_id: &TriggerId, found: &str) -> bool {
        self.with(|state| {
            let created_while_listening = match state.containers.get(trigger_id) {
                None => false,
                Some(ContainerState::Missing) => true,
                Some(ContainerState::Exists { rid, created_while_listening }) => {
                    rid != found || *created_while_listening
                }
            };
            let seen = ContainerState::Exists { rid: found.to_owned(), created_while_listening };
            state.containers.insert(trigger_id.clone(), seen);
            created_while_listening
        })
    }

    /// Records that the container has leases: from now on, they determine where its feed is read from.
    pub(crate) fn has_leases(&self, trigger_id: &TriggerId) {
        self.with(|state| {
            if let Some(ContainerState::Exists { created_while_listening, .. }) =
                state.containers.get_mut(trigger_id)
            {
                *created_while_listening = false;
            }
        });
    }

    /// Records that a function uses leases; also returns another function that uses the same ones.
    pub(crate) fn uses(&self, leases: String, function: &str) -> (LeaseUse, Option<String>) {
        let other = self.with(|state| {
            let users = state.shared.entry(leases.clone()).or_default();
            users.push(function.to_owned());
            users.iter().find(|user| *user != function).cloned()
        });
        (LeaseUse { triggers: self.clone(), leases, function: function.to_owned() }, other)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for LeaseUse {
    fn drop(&mut self) {
        self.triggers.with(|state| {
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

    fn trigger_id() -> TriggerId {
        TriggerId { function: "changed".to_owned(), container: "host/d/c".to_owned() }
    }

    #[test]
    fn a_container_created_while_its_function_listens_is_recognised_until_it_has_leases() {
        let triggers = TriggerRegistry::default();
        assert!(!triggers.found(&trigger_id(), "one"), "it existed at the start");
        assert!(!triggers.found(&trigger_id(), "one"));
        assert!(triggers.found(&trigger_id(), "two"), "created again");
        assert!(triggers.found(&trigger_id(), "two"), "until it has leases, also after a failure");
        triggers.has_leases(&trigger_id());
        assert!(!triggers.found(&trigger_id(), "two"));
        assert!(triggers.missing(&trigger_id()));
        assert!(!triggers.missing(&trigger_id()), "already recorded");
        assert!(triggers.found(&trigger_id(), "three"));
    }

    #[test]
    fn functions_that_share_leases_are_reported_while_both_are_open() {
        let triggers = TriggerRegistry::default();
        let (first, other) = triggers.uses("leases".to_owned(), "a");
        assert_eq!(other, None);
        let (again, other) = triggers.uses("leases".to_owned(), "a");
        assert_eq!(other, None, "the same function");
        assert_eq!(triggers.uses("prefix-leases".to_owned(), "b").1, None);
        assert_eq!(triggers.uses("leases".to_owned(), "b").1.as_deref(), Some("a"));
        drop((first, again));
        assert_eq!(triggers.uses("leases".to_owned(), "b").1, None);
    }
}
