//! [`Quotas`]: how much the clients of one address, and of one port, may use of what all ports of a process share.
//!
//! Three resources are shared: file descriptors, memory for responses that clients do not read, and HTTP/2 streams. Otherwise a
//! client that may open connections could use all of them, and block every port.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::descriptors::Descriptors;
use crate::options::Options;

/// The shared quotas of all listeners of a process. Cheap to clone; a listener without [`crate::Listener::with_quotas`] has its own.
#[derive(Clone, Debug, Default)]
pub struct Quotas(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    descriptors: Option<Descriptors>,
    /// Bytes of all responses that wait for their readers.
    unsent_bytes: AtomicUsize,
    /// The addresses that have connections now.
    addresses: Mutex<HashMap<IpAddr, Arc<AddressTotals>>>,
}

/// The total use of the connections of one address.
#[derive(Debug, Default)]
struct AddressTotals {
    unsent_bytes: AtomicUsize,
    streams: AtomicUsize,
}

/// One connection's access to the share of its address.
#[derive(Debug)]
pub(crate) struct AddressUsage {
    address: IpAddr,
    share: Arc<AddressTotals>,
    quotas: Quotas,
}

/// Bytes of one response that are in memory until its reader takes them.
#[derive(Debug)]
pub(crate) struct UnsentBytes {
    bytes: usize,
    client: Arc<AddressUsage>,
}

/// An HTTP/2 stream that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct StreamPermit(Arc<AddressUsage>);

/// The clients of an address leave too many responses unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many bytes of responses wait for the clients of this address to read them")]
pub(crate) struct TooManyUnsentBytes;

/// The address by which clients are counted. A single host has a whole /64 of IPv6, so it counts as one.
pub(crate) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

impl Quotas {
    /// Divides the descriptors that the process may still open among `ports` listeners: each has a reserved share, and the rest is
    /// for any of them. A part is left to the process, for files and for outgoing requests.
    ///
    /// `files_max` is the limit of the process, such as [`crate::raise_open_files`] returns; `None` if there is none. Call this
    /// once all files that stay open have been opened.
    pub fn of_process(files_max: Option<u64>, ports: usize) -> Self {
        let Some(most) = files_max else { return Self::default() };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self::of_files(most.saturating_sub(crate::platform::open_files()), ports)
    }

    /// As [`Quotas::of_process`], for a process that may open `files` more.
    pub fn of_files(files: usize, ports: usize) -> Self {
        let descriptors = Some(Descriptors::divide(files, ports));
        Self(Arc::new(Inner { descriptors, ..Inner::default() }))
    }

    /// Most connections of all ports together, upgraded ones included. `None`: no limit besides those of the ports.
    pub fn connections_max(&self) -> Option<usize> {
        self.0.descriptors.as_ref().map(Descriptors::connections_max)
    }

    /// Bytes of all responses that wait for their readers.
    #[cfg(test)]
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.0.unsent_bytes.load(Ordering::Relaxed)
    }

    /// The descriptors of the process; `None` if they are not limited.
    pub(crate) fn descriptors(&self) -> Option<&Descriptors> {
        self.0.descriptors.as_ref()
    }

    /// Registers a connection of `address`.
    pub(crate) fn client(&self, address: IpAddr) -> AddressUsage {
        let address = counted(address);
        let share = Arc::clone(self.addresses().entry(address).or_default());
        AddressUsage { address, share, quotas: self.clone() }
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<AddressTotals>>> {
        self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AddressUsage {
    /// Whether another response may be started for this address.
    pub(crate) fn may_start_response(&self, options: &Options) -> bool {
        self.share.unsent_bytes.load(Ordering::Relaxed) == 0 || self.has_room(0, options)
    }

    /// Counts bytes that wait for their reader. If a response is the only one, it passes whatever its size: it exists already, and
    /// could never be sent otherwise.
    pub(crate) fn reserve_unsent(
        self: &Arc<Self>,
        bytes: usize,
        options: &Options,
    ) -> Result<UnsentBytes, TooManyUnsentBytes> {
        if self.share.unsent_bytes.load(Ordering::Relaxed) > 0 && !self.has_room(bytes, options) {
            return Err(TooManyUnsentBytes);
        }
        self.share.unsent_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.quotas.0.unsent_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(UnsentBytes { bytes, client: Arc::clone(self) })
    }

    fn has_room(&self, bytes: usize, options: &Options) -> bool {
        let own = self.share.unsent_bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if own > options.unsent_bytes_per_address_max.get() {
            return false;
        }
        let all = self.quotas.0.unsent_bytes.load(Ordering::Relaxed).saturating_add(bytes);
        // When the total is reached, only addresses with more than an equal share are refused.
        all <= options.unsent_bytes_max.get()
            || own <= options.unsent_bytes_max.get() / self.quotas.addresses().len().max(1)
    }

    /// Counts an HTTP/2 stream; `None` when the address has too many.
    pub(crate) fn stream(self: &Arc<Self>, options: &Options) -> Option<StreamPermit> {
        let before = self.share.streams.fetch_add(1, Ordering::Relaxed);
        // Created first, so that dropping it reduces the count again.
        let slot = StreamPermit(Arc::clone(self));
        (before < options.http2_streams_per_address_max.get() as usize).then_some(slot)
    }
}

impl Drop for AddressUsage {
    fn drop(&mut self) {
        let mut addresses = self.quotas.addresses();
        // One reference of the table, and this one.
        if Arc::strong_count(&self.share) == 2 {
            addresses.remove(&self.address);
        }
    }
}

impl Drop for UnsentBytes {
    fn drop(&mut self) {
        self.client.share.unsent_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.client.quotas.0.unsent_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.share.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn options(unsent: usize, per_address: usize, streams: u32) -> Options {
        Options {
            unsent_bytes_max: NonZeroUsize::new(unsent).expect("not zero"),
            unsent_bytes_per_address_max: NonZeroUsize::new(per_address).expect("not zero"),
            http2_streams_per_address_max: NonZeroU32::new(streams).expect("not zero"),
            ..Options::default()
        }
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        assert_eq!(counted(address("2001:db8:1:2:3:4:5:6")), counted(address("2001:db8:1:2::9")));
        assert_ne!(counted(address("2001:db8:1:2::9")), counted(address("2001:db8:1:3::9")));
        assert_eq!(counted(address("::ffff:192.0.2.1")), address("192.0.2.1"));
        assert_ne!(counted(address("192.0.2.1")), counted(address("192.0.2.2")));
    }

    #[test]
    fn unsent_bytes_of_an_address_are_bounded() {
        let (quotas, options) = (Quotas::default(), options(1_000, 100, 9));
        let greedy = Arc::new(quotas.client(address("192.0.2.1")));
        // A single response passes, whatever its size.
        let large = greedy.reserve_unsent(500, &options).expect("it is alone");
        assert_eq!(greedy.reserve_unsent(1, &options).map(drop), Err(TooManyUnsentBytes));
        assert!(!greedy.may_start_response(&options));
        drop(large);
        let half = greedy.reserve_unsent(60, &options).expect("there is room");
        // Another connection of the same address has the same share.
        let second = Arc::new(quotas.client(address("192.0.2.1")));
        assert_eq!(second.reserve_unsent(41, &options).map(drop), Err(TooManyUnsentBytes));
        let rest = second.reserve_unsent(40, &options).expect("there is room");
        let other = Arc::new(quotas.client(address("192.0.2.2")));
        assert!(other.reserve_unsent(100, &options).is_ok());
        drop((half, rest));
        assert!(greedy.may_start_response(&options) && second.reserve_unsent(100, &options).is_ok());
    }

    #[test]
    fn at_the_total_limit_addresses_above_an_equal_share_are_refused() {
        let (quotas, options) = (Quotas::default(), options(100, 80, 9));
        let clients: Vec<_> =
            (1..=4).map(|last| Arc::new(quotas.client(IpAddr::from([192, 0, 2, last])))).collect();
        let held = (clients[0].reserve_unsent(60, &options), clients[1].reserve_unsent(39, &options));
        assert!(held.0.is_ok() && held.1.is_ok());
        let small = clients[2].reserve_unsent(20, &options).expect("a part is 25");
        assert_eq!(clients[0].reserve_unsent(1, &options).map(drop), Err(TooManyUnsentBytes));
        assert!(!clients[0].may_start_response(&options), "it has more than its part");
        assert!(clients[2].may_start_response(&options) && clients[3].may_start_response(&options));
        assert_eq!(
            clients[2].reserve_unsent(6, &options).map(drop),
            Err(TooManyUnsentBytes),
            "more than its part"
        );
        drop((held, small));
        assert!(clients[0].may_start_response(&options));
    }

    #[test]
    fn streams_of_all_connections_of_an_address_count_together() {
        let (quotas, options) = (Quotas::default(), options(100, 80, 2));
        let first = Arc::new(quotas.client(address("192.0.2.1")));
        let second = Arc::new(quotas.client(address("192.0.2.1")));
        let slots = (first.stream(&options), second.stream(&options));
        assert!(slots.0.is_some() && slots.1.is_some());
        assert!(first.stream(&options).is_none());
        assert!(Arc::new(quotas.client(address("192.0.2.2"))).stream(&options).is_some());
        drop(slots);
        assert!(first.stream(&options).is_some());
    }

    #[test]
    fn addresses_without_connections_are_forgotten() {
        let quotas = Quotas::default();
        let (first, second) = (quotas.client(address("192.0.2.1")), quotas.client(address("192.0.2.1")));
        drop(first);
        assert_eq!(quotas.addresses().len(), 1);
        drop(second);
        assert_eq!(quotas.addresses().len(), 0);
    }
}
