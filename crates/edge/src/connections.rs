//! [`Connections`]: all open connections of a listener, with a total limit and a limit per address, and the eviction of the most
//! silent one when a new connection needs its slot.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::activity::{Activity, Silence, SilenceLimits};
use crate::descriptors::{Descriptor, PortDescriptors};
use crate::metrics::{ListenerMetrics, RefusalReason};
use crate::options::{Options, milliseconds};
use crate::quotas;

/// How many silent connections one scan of all of them collects, so that a flood of new connections does not cause a scan each.
const CANDIDATES_MAX: usize = 64;

/// How long no scan is made after one that found no silent connection.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// How long a new connection waits until an evicted one has ended.
const EVICTION_WAIT: Duration = Duration::from_millis(500);

/// The tasks of all open connections. The accepting task owns it.
pub(crate) struct Connections {
    tasks: JoinSet<()>,
    entries: HashMap<Id, Entry>,
    by_address: HashMap<IpAddr, usize>,
    /// Silent connections, the first to close first; of one address, or of all.
    candidates: (Option<IpAddr>, VecDeque<(Id, Silence)>),
    /// When a scan last found none, and for which address.
    found_none: Option<(Option<IpAddr>, Instant)>,
    descriptors: Option<PortDescriptors>,
    metrics: Arc<ListenerMetrics>,
}

/// How the connections of a listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were open when draining began and ended by themselves.
    pub finished: usize,
    /// Connections that were closed at the deadline.
    pub cut: usize,
}

struct Entry {
    address: IpAddr,
    activity: Arc<Activity>,
    task: AbortHandle,
}

/// The permission to open a connection.
pub(crate) struct Admission {
    /// `None` if descriptors are not limited.
    pub(crate) descriptor: Option<Descriptor>,
}

impl Connections {
    pub(crate) fn new(descriptors: Option<PortDescriptors>, metrics: Arc<ListenerMetrics>) -> Self {
        Self {
            tasks: JoinSet::new(),
            entries: HashMap::new(),
            by_address: HashMap::new(),
            candidates: (None, VecDeque::new()),
            found_none: None,
            descriptors,
            metrics,
        }
    }

    /// Waits for the next connection to end. `None` if none is open.
    pub(crate) async fn next_end(&mut self) -> Option<()> {
        let ended = self.tasks.join_next_with_id().await?;
        self.ended(ended);
        Some(())
    }

    /// Admits a new connection, if necessary by evicting the most silent one: of the same address if that has too many, else of
    /// any. The error names the limit that is reached.
    pub(crate) async fn admit(
        &mut self,
        address: IpAddr,
        options: &Options,
    ) -> Result<Admission, RefusalReason> {
        let address = quotas::counted(address);
        let of_address = |this: &Self| this.by_address.get(&address).copied().unwrap_or(0);
        while of_address(self) >= options.connections_per_address_max.get() {
            self.evict(Some(address), options).await.ok_or(RefusalReason::Address)?;
        }
        while self.tasks.len() >= options.connections_max.get() {
            self.evict(None, options).await.ok_or(RefusalReason::Connections)?;
        }
        loop {
            let Some(port) = &self.descriptors else { return Ok(Admission { descriptor: None }) };
            if let Some(descriptor) = port.take() {
                return Ok(Admission { descriptor: Some(descriptor) });
            }
            self.evict(None, options).await.ok_or(RefusalReason::Descriptors)?;
        }
    }

    /// Runs a connection.
    pub(crate) fn spawn(
        &mut self,
        address: IpAddr,
        activity: Arc<Activity>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        self.metrics.accepted.inc();
        self.metrics.open.inc();
        let address = quotas::counted(address);
        *self.by_address.entry(address).or_default() += 1;
        let task = self.tasks.spawn(connection);
        self.entries.insert(task.id(), Entry { address, activity, task });
    }

    /// Ends the most silent connection and waits until it has ended. `None`: none is silent for long enough.
    async fn evict(&mut self, address: Option<IpAddr>, options: &Options) -> Option<()> {
        if self.candidates.0 != address {
            self.candidates = (address, VecDeque::new());
        }
        let evicted = match self.evict_candidate() {
            Some(evicted) => evicted,
            None => {
                self.find_candidates(address, options);
                self.evict_candidate()?
            }
        };
        self.metrics.evicted();
        // It ends as soon as its task is dropped, which may be delayed on a busy processor.
        let gone = async { while self.entries.contains_key(&evicted) && self.next_end().await.is_some() {} };
        tokio::time::timeout(EVICTION_WAIT, gone).await.ok()
    }

    fn evict_candidate(&mut self) -> Option<Id> {
        while let Some((id, silence)) = self.candidates.1.pop_front() {
            // It may have ended or sent a request in the meantime.
            if let Some(entry) = self.entries.get(&id)
                && entry.activity.evict(silence)
            {
                entry.task.abort();
                return Some(id);
            }
        }
        None
    }

    fn find_candidates(&mut self, address: Option<IpAddr>, options: &Options) {
        let now = Instant::now();
        if self.found_none.is_some_and(|(of, at)| of == address && now < at + LOOK_PAUSE) {
            return;
        }
        let grace = SilenceLimits {
            silent: milliseconds(options.silent_after_ms),
            handshake: milliseconds(options.tls_handshake_timeout_ms) / 2,
        };
        let wanted = |entry: &Entry| address.is_none_or(|address| entry.address == address);
        let entries = self.entries.iter().filter(|(_, entry)| wanted(entry));
        let mut silent: Vec<(Id, Silence)> =
            entries.filter_map(|(id, entry)| Some((*id, entry.activity.silence(now, grace)?))).collect();
        if silent.len() > CANDIDATES_MAX {
            silent.select_nth_unstable_by_key(CANDIDATES_MAX, |(_, silence)| *silence);
            silent.truncate(CANDIDATES_MAX);
        }
        silent.sort_unstable_by_key(|(_, silence)| *silence);
        self.found_none = silent.is_empty().then_some((address, now));
        self.candidates = (address, silent.into());
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        self.metrics.open.dec();
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(listener = %self.metrics.name, %error, "a connection panicked");
                }
                error.id()
            }
        };
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Some(count) = self.by_address.get_mut(&entry.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&entry.address);
            }
        }
    }

    /// Waits until all have ended, and closes those that have not ended in time.
    pub(crate) async fn drain(mut self, limit: Duration) -> Drained {
        let mut finished = 0;
        let all_ended = async {
            while self.next_end().await.is_some() {
                finished += 1;
            }
        };
        // A timeout means that some are left; the next lines handle them.
        let _ = tokio::time::timeout(limit, all_ended).await;
        let cut = self.tasks.len();
        self.tasks.abort_all();
        while self.next_end().await.is_some() {}
        if cut > 0 {
            tracing::warn!(listener = %self.metrics.name, finished, cut, "requests did not finish in time and were cut");
        }
        Drained { finished, cut }
    }
}
