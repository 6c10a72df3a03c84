//! [`Component`]: a named part of the process that says whether it is ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::{ComponentLabels, Metrics};

/// A part of the process that is not ready, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// The component's name, such as `function app`.
    pub component: String,
    /// For the operator: what is wrong and what to do. It may name files and settings, so it is not for strangers.
    pub reason: String,
}

/// A named part of the process that says whether it is ready. The part leaves the list when this is dropped.
#[derive(Debug)]
pub struct Component {
    id: u64,
    name: String,
    components: Components,
}

/// All components; clones share the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Components(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    list: Mutex<List>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct List {
    next_id: u64,
    /// By id. A component without a reason is ready.
    known: BTreeMap<u64, (String, Option<String>)>,
}

impl Components {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Shared { list: Mutex::default(), metrics }))
    }

    /// Adds a component that is not ready yet.
    pub(crate) fn add(&self, name: &str) -> Component {
        let id = {
            let mut list = self.list();
            let id = list.next_id;
            list.next_id += 1;
            list.known.insert(id, (name.to_owned(), Some("starting".to_owned())));
            id
        };
        self.0.metrics.ready.get_or_create(&labels(name)).set(0);
        Component { id, name: name.to_owned(), components: self.clone() }
    }

    pub(crate) fn not_ready(&self) -> Vec<NotReady> {
        let list = self.list();
        let waiting = list
            .known
            .values()
            .filter_map(|(name, reason)| Some(NotReady { component: name.clone(), reason: reason.clone()? }));
        waiting.collect()
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Component {
    /// Says that the part works.
    pub fn set_ready(&self) {
        self.set(None);
    }

    /// Says that the part does not work, and why: what happened and what to do, without a full stop.
    pub fn set_not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        let ready = i64::from(reason.is_none());
        if let Some((_, condition)) = self.components.list().known.get_mut(&self.id) {
            *condition = reason;
        }
        self.components.0.metrics.ready.get_or_create(&labels(&self.name)).set(ready);
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.components.list().known.remove(&self.id);
        self.components.0.metrics.ready.remove(&labels(&self.name));
    }
}

fn labels(name: &str) -> ComponentLabels {
    ComponentLabels { component: name.to_owned() }
}
