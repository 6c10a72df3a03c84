//! [`Descriptors`]: the file descriptors of the process, divided among its ports so that the clients of one cannot starve another.

use std::sync::{Arc, Mutex, PoisonError};

/// Fewest descriptors that are left to the process itself, for files, workers and outgoing requests.
const RESERVE_MIN: usize = 48;

/// Most descriptors that are left to the process itself.
const RESERVE_MAX: usize = 1024;

/// Most descriptors that are reserved for each port.
const PORT_MAX: usize = 256;

/// Descriptors for connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Descriptors(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ports: usize,
    /// How many are reserved for each port.
    own: usize,
    /// How many any port may use.
    shared: usize,
    shared_used: Mutex<usize>,
}

/// The descriptors of one port.
#[derive(Debug)]
pub(crate) struct PortDescriptors {
    descriptors: Descriptors,
    used: Arc<Mutex<usize>>,
}

/// The descriptor of one connection, until this is dropped.
#[derive(Debug)]
pub(crate) struct Descriptor {
    descriptors: Descriptors,
    port: Arc<Mutex<usize>>,
}

impl Descriptors {
    /// Divides the descriptors that the process has left.
    pub(crate) fn divide(left: usize, ports: usize) -> Self {
        let connections = left.saturating_sub((left / 8).clamp(RESERVE_MIN, RESERVE_MAX));
        let ports = ports.max(1);
        // At most half is reserved: if there are few, most of them are for any port that needs them.
        let own = (connections / (2 * ports)).clamp(1, PORT_MAX);
        let shared = connections.saturating_sub(own * ports);
        Self(Arc::new(Inner { ports, own, shared, shared_used: Mutex::default() }))
    }

    /// Most connections of all ports together.
    pub(crate) fn connections_max(&self) -> usize {
        self.0.shared + self.0.own * self.0.ports
    }

    /// Creates the share of one more port. Call it once for each.
    pub(crate) fn port(&self) -> PortDescriptors {
        PortDescriptors { descriptors: self.clone(), used: Arc::default() }
    }
}

impl PortDescriptors {
    /// Takes one more, if there is any: first of the port's own, then of the shared ones.
    pub(crate) fn take(&self) -> Option<Descriptor> {
        let inner = &self.descriptors.0;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if *used >= inner.own {
            let mut shared_used = inner.shared_used.lock().unwrap_or_else(PoisonError::into_inner);
            if *shared_used >= inner.shared {
                return None;
            }
            *shared_used += 1;
        }
        *used += 1;
        drop(used);
        Some(Descriptor { descriptors: self.descriptors.clone(), port: Arc::clone(&self.used) })
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let inner = &self.descriptors.0;
        // In the order in which `take` locks.
        let mut used = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        if *used > inner.own {
            *inner.shared_used.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        }
        *used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_cannot_use_the_reserved_descriptors_of_another() {
        let descriptors = Descriptors::divide(160, 3);
        assert_eq!(descriptors.connections_max(), 112, "48 are left to the process");
        let [first, second, third] = [(); 3].map(|()| descriptors.port());
        let taken: Vec<_> = std::iter::from_fn(|| first.take()).collect();
        assert_eq!(taken.len(), 112 - 2 * 18, "all but what the two others have to themselves");
        for other in [&second, &third] {
            let own: Vec<_> = std::iter::from_fn(|| other.take()).collect();
            assert_eq!(own.len(), 18);
        }
        drop(taken);
        let again: Vec<_> = std::iter::from_fn(|| second.take()).collect();
        assert_eq!(again.len(), 112 - 2 * 18, "what was given back is there for all");
    }

    #[test]
    fn each_port_gets_one_descriptor_at_least() {
        let descriptors = Descriptors::divide(0, 5);
        assert!((0..5).all(|_| descriptors.port().take().is_some()));
    }

    proptest::proptest! {
        /// In whatever order descriptors are taken and returned, no port is ever refused a reserved one, and the sum is limited.
        #[test]
        fn taken_and_returned_descriptors_add_up(steps in proptest::collection::vec((0usize..3, proptest::bool::ANY), 0..400)) {
            let descriptors = Descriptors::divide(100, 3);
            let ports = [(); 3].map(|()| descriptors.port());
            let mut held: [Vec<Descriptor>; 3] = Default::default();
            for (port, take) in steps {
                if !take {
                    held[port].pop();
                    continue;
                }
                match ports[port].take() {
                    Some(descriptor) => held[port].push(descriptor),
                    None => assert!(held[port].len() >= descriptors.0.own),
                }
                let all: usize = held.iter().map(Vec::len).sum();
                assert!(all <= descriptors.connections_max());
            }
            drop(held);
            assert_eq!(*descriptors.0.shared_used.lock().expect("no test panicked"), 0);
        }
    }
}
