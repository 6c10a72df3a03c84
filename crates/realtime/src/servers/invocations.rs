//! Pending client invocations: the caller of each, which gets the result. Pure: the time is an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection_table::ServerConnectionId;
use realtime_engine::{ConnectionId, Hub};

/// Stale entries that the queue by age may have in addition to twice the number of invocations.
const SLACK: usize = 1024;

/// A client invocation that waits for its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingInvocation {
    pub(crate) invocation: Arc<str>,
    pub(crate) hub: Hub,
    /// The client.
    pub(crate) client: ConnectionId,
    /// The server connection that requested the invocation.
    pub(crate) caller: ServerConnectionId,
    /// The app server of that connection. If the connection has closed, another one of the app server gets the result.
    pub(crate) caller_server: Arc<str>,
    /// Before this time, the SDK of the caller does not expect a result.
    pub(crate) not_before: Instant,
}

/// The pending invocations. All have the same time-out, so the oldest expires first.
#[derive(Debug)]
pub(crate) struct Invocations {
    lifetime: Duration,
    entries_max: usize,
    entries: HashMap<Arc<str>, (PendingInvocation, Instant)>,
    of_clients: HashMap<ConnectionId, Vec<Arc<str>>>,
    by_age: VecDeque<(Instant, Arc<str>)>,
}

/// Why an invocation is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvocationRejected {
    #[error("too many pending client invocations; the limit is {0} (servers.invocations_max)")]
    TooMany(usize),
    #[error("another invocation with this id is pending")]
    Duplicate,
}

impl Invocations {
    pub(crate) fn new(lifetime: Duration, entries_max: usize) -> Self {
        let (entries, of_clients, by_age) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self { lifetime, entries_max, entries, of_clients, by_age }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn insert(
        &mut self,
        pending: PendingInvocation,
        now: Instant,
    ) -> Result<(), InvocationRejected> {
        if self.entries.len() >= self.entries_max {
            return Err(InvocationRejected::TooMany(self.entries_max));
        }
        if self.entries.contains_key(&pending.invocation) {
            return Err(InvocationRejected::Duplicate);
        }
        if self.by_age.len() > 2 * self.entries.len() + SLACK {
            self.by_age.retain(|(since, invocation)| {
                self.entries.get(invocation).is_some_and(|(_, at)| at == since)
            });
        }
        self.of_clients.entry(pending.client).or_default().push(Arc::clone(&pending.invocation));
        self.by_age.push_back((now, Arc::clone(&pending.invocation)));
        self.entries.insert(Arc::clone(&pending.invocation), (pending, now));
        Ok(())
    }

    /// Removes an invocation whose result has arrived. Results of other clients are ignored.
    pub(crate) fn complete(&mut self, invocation: &str, client: ConnectionId) -> Option<PendingInvocation> {
        if self.entries.get(invocation)?.0.client != client {
            return None;
        }
        let (pending, _) = self.entries.remove(invocation)?;
        if let Some(of_client) = self.of_clients.get_mut(&client) {
            of_client.retain(|other| **other != *invocation);
            if of_client.is_empty() {
                self.of_clients.remove(&client);
            }
        }
        Some(pending)
    }

    /// The pending invocations of a client.
    pub(crate) fn of_client(&self, client: ConnectionId) -> Vec<PendingInvocation> {
        let invocations = self.of_clients.get(&client).into_iter().flatten();
        invocations
            .filter_map(|invocation| self.entries.get(invocation))
            .map(|(pending, _)| pending.clone())
            .collect()
    }

    /// Removes and returns the pending invocations of a client that has disconnected.
    pub(crate) fn remove_client(&mut self, client: ConnectionId) -> Vec<PendingInvocation> {
        let invocations = self.of_clients.remove(&client).unwrap_or_default();
        invocations
            .iter()
            .filter_map(|invocation| self.entries.remove(invocation))
            .map(|(pending, _)| pending)
            .collect()
    }

    /// Removes and returns the invocations whose time-out has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<PendingInvocation> {
        let mut expired = Vec::new();
        while let Some((since, invocation)) = self.by_age.front() {
            // Completed invocations stay in the queue for a while, and their ids may have been used again.
            let client =
                self.entries.get(invocation).filter(|(_, at)| at == since).map(|(pending, _)| pending.client);
            if client.is_some() && now.duration_since(*since) < self.lifetime {
                break;
            }
            let (_, invocation) = self.by_age.pop_front().expect("it was just checked");
            expired.extend(client.and_then(|client| self.complete(&invocation, client)));
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use state::Instance;

    use super::super::connection_table::{ConnectionPurpose, ConnectionTable};
    use super::*;
    use crate::mode::Mode;

    fn pending(invocation: &str, client: char) -> PendingInvocation {
        let hub = Hub::new(Instance::new("default").unwrap(), "chat");
        let mut ids = Vec::new();
        ConnectionTable::new(Mode::Default)
            .add(&hub, "A".into(), ConnectionPurpose::Sending, |id| ids.push(id));
        let caller = ids[0];
        let client = ConnectionId::parse(&format!("AAAAAAAAAAAAAAAAAAAA{client}AAAAAA")).unwrap();
        PendingInvocation {
            invocation: invocation.into(),
            hub,
            client,
            caller,
            caller_server: "A".into(),
            not_before: Instant::now(),
        }
    }

    fn names(pending: &[PendingInvocation]) -> String {
        pending.iter().map(|pending| &*pending.invocation).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_result_completes_an_invocation_once_and_only_from_its_client() {
        let (mut invocations, now) = (Invocations::new(Duration::from_secs(600), 2), Instant::now());
        let one = pending("1", 'A');
        assert_eq!(invocations.insert(one.clone(), now), Ok(()));
        assert_eq!(invocations.insert(one.clone(), now), Err(InvocationRejected::Duplicate));
        assert_eq!(invocations.insert(pending("2", 'B'), now), Ok(()));
        assert_eq!(invocations.insert(pending("3", 'B'), now), Err(InvocationRejected::TooMany(2)));
        assert_eq!(invocations.complete("1", pending("", 'B').client), None);
        assert_eq!(invocations.complete("1", one.client), Some(one.clone()));
        assert_eq!(invocations.complete("1", one.client), None);
        assert_eq!(invocations.insert(pending("3", 'B'), now), Ok(()));
        assert_eq!(names(&invocations.remove_client(pending("", 'B').client)), "2 3");
        assert_eq!(invocations.len(), 0);
    }

    #[test]
    fn invocations_expire_after_their_time_out() {
        let lifetime = Duration::from_secs(600);
        let (mut invocations, start) = (Invocations::new(lifetime, 10), Instant::now());
        for (seconds, name) in [(0, "1"), (1, "2"), (2, "3")] {
            let at = start + Duration::from_secs(seconds);
            invocations.insert(pending(name, 'A'), at).unwrap();
        }
        invocations.complete("1", pending("", 'A').client).unwrap();
        assert_eq!(names(&invocations.expire(start + Duration::from_secs(600))), "");
        assert_eq!(names(&invocations.expire(start + Duration::from_secs(601))), "2");
        assert_eq!(names(&invocations.remove_client(pending("", 'A').client)), "3");
        assert_eq!(names(&invocations.expire(start + Duration::from_secs(9000))), "");
        assert!(invocations.by_age.is_empty() && invocations.of_clients.is_empty());
    }

    #[test]
    fn a_reused_id_has_its_own_time_out_and_the_queue_stays_small() {
        let lifetime = Duration::from_secs(600);
        let (mut invocations, start) = (Invocations::new(lifetime, 10), Instant::now());
        let client = pending("", 'A').client;
        invocations.insert(pending("old", 'B'), start).unwrap();
        for second in 0..5_000 {
            invocations.insert(pending("1", 'A'), start + Duration::from_millis(second)).unwrap();
            invocations.complete("1", client).unwrap();
        }
        assert!(invocations.by_age.len() < 2 * SLACK, "{}", invocations.by_age.len());
        invocations.insert(pending("1", 'A'), start + Duration::from_secs(100)).unwrap();
        assert_eq!(names(&invocations.expire(start + Duration::from_secs(650))), "old");
        assert_eq!(names(&invocations.expire(start + Duration::from_secs(700))), "1");
    }
}
