//! [`Owners`]: who reads a list or stream, and which of them are known to be gone.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A source as the consumer of a group and the owner of pending entries: `{host}.{process}.{number}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    instance: String,
    process: String,
    number: u64,
}

/// The open sources of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Owners(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    instance: String,
    /// Differs at each start, so that owners of an earlier process are recognised.
    process: String,
    numbers: Mutex<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    open: HashSet<u64>,
    last: u64,
}

/// An open source; dropping it marks the source as closed.
#[derive(Debug)]
pub(crate) struct OpenOwner {
    owners: Owners,
    pub(crate) owner: Owner,
}

impl Owners {
    pub(crate) fn new(instance: String) -> Self {
        let process = uuid::Uuid::new_v4().simple().to_string();
        Self(Arc::new(Inner { instance, process, numbers: Mutex::default() }))
    }

    pub(crate) fn register(&self) -> OpenOwner {
        let mut numbers = self.0.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.last += 1;
        let number = numbers.last;
        numbers.open.insert(number);
        let owner = Owner { instance: self.0.instance.clone(), process: self.0.process.clone(), number };
        OpenOwner { owners: self.clone(), owner }
    }

    /// Whether the owner of this name is known to be gone before its lock expires: an earlier process of this host (only one process
    /// at a time may use a host's name), or a source of this process that was closed.
    pub(crate) fn is_gone(&self, name: &str) -> bool {
        let Some(owner) = Owner::parse(name) else { return false };
        if owner.instance != self.0.instance {
            return false;
        }
        let numbers = self.0.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        owner.process != self.0.process || !numbers.open.contains(&owner.number)
    }
}

impl Owner {
    fn parse(name: &str) -> Option<Self> {
        let (rest, number) = name.rsplit_once('.')?;
        let (instance, process) = rest.rsplit_once('.')?;
        Some(Self {
            instance: instance.to_owned(),
            process: process.to_owned(),
            number: number.parse().ok()?,
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.instance, self.process, self.number)
    }
}

impl Drop for OpenOwner {
    fn drop(&mut self) {
        let mut numbers = self.owners.0.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.open.remove(&self.owner.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_gone_when_it_was_closed_or_belongs_to_an_earlier_process_of_the_host() {
        let owners = Owners::new("chappe-/var/lib/a.b".to_owned());
        let open = owners.register();
        let name = open.owner.to_string();
        assert!(!owners.is_gone(&name));
        drop(open);
        assert!(owners.is_gone(&name));
        let live = owners.register().owner.to_string();
        assert!(Owners::new("chappe-/var/lib/a.b".to_owned()).is_gone(&live), "another process of this host");
        assert!(!Owners::new("other".to_owned()).is_gone(&live), "another host");
        assert!(!owners.is_gone("a consumer of somebody else"));
    }
}
