//! Which server connections there are, and which clients belong to which. Pure: `L` is whatever leads to a connection.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::engine::{ConnectionId, Hub};
use crate::options::Mode;

/// Number of a server connection. Never given out twice by one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(u64);

/// What a server connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It may carry clients.
    Clients {
        /// They may reconnect statefully.
        stateful: bool,
    },
    /// It only sends (type Weak).
    Sending,
}

/// The server that a client's token asks for (claims `asrs.s.sn` and `asrs.s.ssticky`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sticky {
    pub(crate) server: Box<str>,
    /// No other server will do.
    pub(crate) required: bool,
}

/// Who answers what the clients of a hub say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answerer {
    /// An app server.
    Servers,
    /// The upstream of Serverless mode.
    Upstream,
    /// An app server should, and none is there.
    Nobody,
}

/// The server connections of all hubs.
#[derive(Debug)]
pub(crate) struct Registry<L> {
    mode: Mode,
    next: u64,
    count: usize,
    hubs: HashMap<Hub, Vec<Entry<L>>>,
}

#[derive(Debug)]
struct Entry<L> {
    id: LinkId,
    link: L,
    /// The process at its other end. One process has several connections.
    server: Arc<str>,
    purpose: Purpose,
    /// Its server shuts down: it gets no new clients.
    leaving: bool,
    clients: HashSet<ConnectionId>,
}

impl<L: Clone> Registry<L> {
    pub(crate) fn new(mode: Mode) -> Self {
        Self { mode, next: 0, count: 0, hubs: HashMap::new() }
    }

    /// Number of server connections in all hubs.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Adds a connection, which `link` makes when it knows its number.
    pub(crate) fn add(
        &mut self,
        hub: &Hub,
        server: Arc<str>,
        purpose: Purpose,
        link: impl FnOnce(LinkId) -> L,
    ) -> L {
        let id = LinkId(self.next);
        self.next += 1;
        self.count += 1;
        let link = link(id);
        let clients = HashSet::new();
        let entry = Entry { id, link: link.clone(), server, purpose, leaving: false, clients };
        self.hubs.entry(hub.clone()).or_default().push(entry);
        link
    }

    /// Forgets a connection, and says which clients belonged to it.
    pub(crate) fn remove(&mut self, hub: &Hub, id: LinkId) -> Vec<ConnectionId> {
        let Some(entries) = self.hubs.get_mut(hub) else { return Vec::new() };
        let Some(index) = entries.iter().position(|entry| entry.id == id) else { return Vec::new() };
        let entry = entries.remove(index);
        self.count -= 1;
        if entries.is_empty() {
            self.hubs.remove(hub);
        }
        sorted(entry.clients)
    }

    /// From now on the connection gets no new clients. Says which it has.
    pub(crate) fn leave(&mut self, hub: &Hub, id: LinkId) -> Vec<ConnectionId> {
        let Some(entry) = self.entry(hub, id) else { return Vec::new() };
        entry.leaving = true;
        sorted(entry.clients.iter().copied())
    }

    /// Who will answer a client that comes now.
    pub(crate) fn answerer(&self, hub: &Hub, sticky: Option<&Sticky>) -> Answerer {
        match self.mode {
            Mode::Serverless => Answerer::Upstream,
            Mode::Default if self.best(hub, sticky, None).is_some() => Answerer::Servers,
            Mode::Default => Answerer::Nobody,
            // A server that leaves, or is not the one required, still makes it a hub with servers.
            Mode::Classic if !self.has_server(hub) => Answerer::Upstream,
            Mode::Classic if self.best(hub, sticky, None).is_some() => Answerer::Servers,
            Mode::Classic => Answerer::Nobody,
        }
    }

    /// Gives a client to the best server connection: of the server its token asks for, and among those the one with the fewest
    /// clients. Not to one of the server `except`, nor to one that does not take clients any more, though it is not removed yet. A client
    /// that is moved is still with its old one until it is released there.
    pub(crate) fn assign(
        &mut self,
        hub: &Hub,
        client: ConnectionId,
        sticky: Option<&Sticky>,
        except: Option<&str>,
        takes_clients: impl Fn(&L) -> bool,
    ) -> Option<(LinkId, L)> {
        loop {
            let id = self.best(hub, sticky, except)?;
            let entry = self.entry(hub, id)?;
            if takes_clients(&entry.link) {
                entry.clients.insert(client);
                return Some((id, entry.link.clone()));
            }
            entry.leaving = true;
        }
    }

    /// The client no longer belongs to the connection.
    pub(crate) fn release(&mut self, hub: &Hub, client: ConnectionId, id: LinkId) {
        if let Some(entry) = self.entry(hub, id) {
            entry.clients.remove(&client);
        }
    }

    /// A connection by its number.
    pub(crate) fn link(&self, hub: &Hub, id: LinkId) -> Option<L> {
        self.hubs.get(hub)?.iter().find(|entry| entry.id == id).map(|entry| entry.link.clone())
    }

    /// A connection of the server, for what has to reach that process by whichever way.
    pub(crate) fn link_of_server(&self, hub: &Hub, server: &str) -> Option<L> {
        let entries = self.hubs.get(hub)?;
        entries.iter().find(|entry| &*entry.server == server).map(|entry| entry.link.clone())
    }

    /// The processes that are connected for a hub, each once, by name.
    pub(crate) fn servers(&self, hub: &Hub) -> Vec<Arc<str>> {
        let mut servers: Vec<_> =
            self.hubs.get(hub).into_iter().flatten().map(|entry| Arc::clone(&entry.server)).collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    }

    /// Every connection.
    pub(crate) fn links(&self) -> Vec<L> {
        self.hubs.values().flatten().map(|entry| entry.link.clone()).collect()
    }

    /// Whether every server of the hub lets its clients reconnect statefully, so that it can be promised before one is chosen.
    pub(crate) fn all_stateful(&self, hub: &Hub) -> bool {
        let stateful = |entry: &Entry<L>| entry.purpose == Purpose::Clients { stateful: true };
        let mut entries = self.hubs.get(hub).into_iter().flatten().filter(|entry| entry.carries_clients());
        entries.all(stateful)
    }

    fn has_server(&self, hub: &Hub) -> bool {
        self.hubs.get(hub).into_iter().flatten().any(Entry::carries_clients)
    }

    fn best(&self, hub: &Hub, sticky: Option<&Sticky>, except: Option<&str>) -> Option<LinkId> {
        let usable = |entry: &&Entry<L>| {
            entry.carries_clients() && !entry.leaving && except.is_none_or(|server| *entry.server != *server)
        };
        let usable = self.hubs.get(hub)?.iter().filter(usable);
        let wanted = |entry: &&Entry<L>| sticky.is_some_and(|sticky| *entry.server == *sticky.server);
        let fewest = |entry: &&Entry<L>| (entry.clients.len(), entry.id);
        let found = usable.clone().filter(wanted).min_by_key(fewest);
        if sticky.is_some_and(|sticky| sticky.required) {
            return found.map(|entry| entry.id);
        }
        found.or_else(|| usable.min_by_key(fewest)).map(|entry| entry.id)
    }

    fn entry(&mut self, hub: &Hub, id: LinkId) -> Option<&mut Entry<L>> {
        self.hubs.get_mut(hub)?.iter_mut().find(|entry| entry.id == id)
    }
}

impl<L> Entry<L> {
    fn carries_clients(&self) -> bool {
        matches!(self.purpose, Purpose::Clients { .. })
    }
}

/// In a stable order, so that what follows from it is one.
fn sorted(clients: impl IntoIterator<Item = ConnectionId>) -> Vec<ConnectionId> {
    let mut clients: Vec<_> = clients.into_iter().collect();
    clients.sort_unstable();
    clients
}

#[cfg(test)]
mod tests;
