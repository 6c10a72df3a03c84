//! Calls of clients that app servers wait for: who called, so that the result finds its way back. Pure: the time comes in.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::registry::LinkId;
use crate::engine::{ConnectionId, Hub};

/// Entries of the queue by age that may be left over from calls that have their result, beside as many as there are calls.
const SLACK: usize = 1024;

/// One call that waits for its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) invocation: Arc<str>,
    pub(crate) hub: Hub,
    /// Whose method was called.
    pub(crate) client: ConnectionId,
    /// The server connection that asked.
    pub(crate) caller: LinkId,
    /// The process behind it; should the connection be gone, another one of it gets the result.
    pub(crate) caller_server: Arc<str>,
    /// Before this, the caller does not know its own call yet.
    pub(crate) not_before: Instant,
}

/// The calls that wait. Every one waits equally long, so the oldest ends first.
#[derive(Debug)]
pub(crate) struct Invocations {
    lifetime: Duration,
    entries_max: usize,
    entries: HashMap<Arc<str>, (Pending, Instant)>,
    of_clients: HashMap<ConnectionId, Vec<Arc<str>>>,
    by_age: VecDeque<(Instant, Arc<str>)>,
}

/// Why a call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error("as many calls of clients wait for their results as may; try again in a moment")]
    Full,
    #[error("another call with this invocation id waits for its result")]
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

    pub(crate) fn insert(&mut self, pending: Pending, now: Instant) -> Result<(), NotTaken> {
        if self.entries.len() >= self.entries_max {
            return Err(NotTaken::Full);
        }
        if self.entries.contains_key(&pending.invocation) {
            return Err(NotTaken::Duplicate);
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

    /// The result has come; only that of the client that was called counts.
    pub(crate) fn complete(&mut self, invocation: &str, client: ConnectionId) -> Option<Pending> {
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

    /// The calls of a client that wait.
    pub(crate) fn of_client(&self, client: ConnectionId) -> Vec<Pending> {
        let invocations = self.of_clients.get(&client).into_iter().flatten();
        invocations
            .filter_map(|invocation| self.entries.get(invocation))
            .map(|(pending, _)| pending.clone())
            .collect()
    }

    /// The client is gone: these will have no result.
    pub(crate) fn client_gone(&mut self, client: ConnectionId) -> Vec<Pending> {
        let invocations = self.of_clients.remove(&client).unwrap_or_default();
        invocations
            .iter()
            .filter_map(|invocation| self.entries.remove(invocation))
            .map(|(pending, _)| pending)
            .collect()
    }

    /// Those that have waited for too long.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Pending> {
        let mut expired = Vec::new();
        while let Some((since, invocation)) = self.by_age.front() {
            // An invocation that has its result stays in the queue for a while; its id may even have been used again.
            let client =
                self.entries.get(invocation).filter(|(_, at)| at == since).map(|(pending, _)| pending.client);
            if client.is_some() && now.duration_since(*since) < self.lifetime {
                break;
            }
            let (_, invocation) = self.by_age.pop_front().expect("it was just looked at");
            expired.extend(client.and_then(|client| self.complete(&invocation, client)));
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use state::Instance;

    use super::super::registry::{Purpose, Registry};
    use super::*;
    use crate::options::Mode;

    fn pending(invocation: &str, client: char) -> Pending {
        let hub = Hub::new(Instance::new("default").unwrap(), "chat");
        let mut ids = Vec::new();
        Registry::new(Mode::Default).add(&hub, "A".into(), Purpose::Sending, |id| ids.push(id));
        let caller = ids[0];
        let client = ConnectionId::parse(&format!("AAAAAAAAAAAAAAAAAAAA{client}AAAAAA")).unwrap();
        Pending {
            invocation: invocation.into(),
            hub,
            client,
            caller,
            caller_server: "A".into(),
            not_before: Instant::now(),
        }
    }

    fn names(pending: &[Pending]) -> String {
        pending.iter().map(|pending| &*pending.invocation).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_result_ends_the_waiting_once_and_only_from_the_right_client() {
        let (mut invocations, now) = (Invocations::new(Duration::from_secs(600), 2), Instant::now());
        let one = pending("1", 'A');
        assert_eq!(invocations.insert(one.clone(), now), Ok(()));
        assert_eq!(invocations.insert(one.clone(), now), Err(NotTaken::Duplicate));
        assert_eq!(invocations.insert(pending("2", 'B'), now), Ok(()));
        assert_eq!(invocations.insert(pending("3", 'B'), now), Err(NotTaken::Full));
        assert_eq!(invocations.complete("1", pending("", 'B').client), None);
        assert_eq!(invocations.complete("1", one.client), Some(one.clone()));
        assert_eq!(invocations.complete("1", one.client), None);
        assert_eq!(invocations.insert(pending("3", 'B'), now), Ok(()));
        assert_eq!(names(&invocations.client_gone(pending("", 'B').client)), "2 3");
        assert_eq!(invocations.len(), 0);
    }

    #[test]
    fn calls_wait_for_their_time_and_no_longer() {
        let lifetime = Duration::from_secs(600);
        let (mut invocations, start) = (Invocations::new(lifetime, 10), Instant::now());
        for (seconds, name) in [(0, "1"), (1, "2"), (2, "3")] {
            let at = start + Duration::from_secs(seconds);
            invocations.insert(pending(name, 'A'), at).unwrap();
        }
        invocations.complete("1", pending("", 'A').client).unwrap();
        assert_eq!(names(&invocations.expire(start + Duration::from_secs(600))), "");
        assert_eq!(names(&invocations.expire(start + Duration::from_secs(601))), "2");
        assert_eq!(names(&invocations.client_gone(pending("", 'A').client)), "3");
        assert_eq!(names(&invocations.expire(start + Duration::from_secs(9000))), "");
        assert!(invocations.by_age.is_empty() && invocations.of_clients.is_empty());
    }

    #[test]
    fn an_id_that_is_used_again_waits_for_its_own_time_and_nothing_piles_up() {
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
