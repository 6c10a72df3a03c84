//! [`ConnectionTable`]: the server connections of all hubs and the clients that each carries. Pure: `C` is the handle of a connection.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::mode::Mode;
use realtime_engine::{ConnectionId, Hub};

/// Number of a server connection. Unique within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServerConnectionId(u64);

/// What a server connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionPurpose {
    /// It carries clients.
    Clients {
        /// They may use stateful reconnect.
        stateful: bool,
    },
    /// It only sends (connection type Weak).
    Sending,
}

/// The app server that a client's token names (claims `asrs.s.sn` and `asrs.s.ssticky`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StickyServer {
    pub(crate) server: Box<str>,
    /// No other app server may serve the client.
    pub(crate) required: bool,
}

/// Who handles the messages of a hub's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientHandler {
    /// An app server.
    AppServer,
    /// The upstream, as in Serverless mode.
    Upstream,
    /// An app server should, but none is connected.
    Unavailable,
}

/// The server connections of all hubs.
#[derive(Debug)]
pub(crate) struct ConnectionTable<C> {
    mode: Mode,
    next: u64,
    count: usize,
    hubs: HashMap<Hub, Vec<Entry<C>>>,
}

#[derive(Debug)]
struct Entry<C> {
    id: ServerConnectionId,
    connection: C,
    /// The id of the app server. One app server has several connections.
    server: Arc<str>,
    purpose: ConnectionPurpose,
    /// The app server shuts down: the connection gets no new clients.
    is_draining: bool,
    clients: HashSet<ConnectionId>,
}

impl<C: Clone> ConnectionTable<C> {
    pub(crate) fn new(mode: Mode) -> Self {
        Self { mode, next: 0, count: 0, hubs: HashMap::new() }
    }

    /// Number of server connections in all hubs.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Adds the connection that `connection` creates for its id.
    pub(crate) fn add(
        &mut self,
        hub: &Hub,
        server: Arc<str>,
        purpose: ConnectionPurpose,
        connection: impl FnOnce(ServerConnectionId) -> C,
    ) -> C {
        let id = ServerConnectionId(self.next);
        self.next += 1;
        self.count += 1;
        let connection = connection(id);
        let clients = HashSet::new();
        let entry =
            Entry { id, connection: connection.clone(), server, purpose, is_draining: false, clients };
        self.hubs.entry(hub.clone()).or_default().push(entry);
        connection
    }

    /// Removes a connection. Returns the clients that it carried.
    pub(crate) fn remove(&mut self, hub: &Hub, id: ServerConnectionId) -> Vec<ConnectionId> {
        let Some(entries) = self.hubs.get_mut(hub) else { return Vec::new() };
        let Some(index) = entries.iter().position(|entry| entry.id == id) else { return Vec::new() };
        let entry = entries.remove(index);
        self.count -= 1;
        if entries.is_empty() {
            self.hubs.remove(hub);
        }
        sorted(entry.clients)
    }

    /// Assigns no new clients to the connection from now on. Returns those that it carries.
    pub(crate) fn drain(&mut self, hub: &Hub, id: ServerConnectionId) -> Vec<ConnectionId> {
        let Some(entry) = self.entry(hub, id) else { return Vec::new() };
        entry.is_draining = true;
        sorted(entry.clients.iter().copied())
    }

    /// Who handles a client that connects now.
    pub(crate) fn client_handler(&self, hub: &Hub, sticky: Option<&StickyServer>) -> ClientHandler {
        match self.mode {
            Mode::Serverless => ClientHandler::Upstream,
            Mode::Default if self.best(hub, sticky, None).is_some() => ClientHandler::AppServer,
            Mode::Default => ClientHandler::Unavailable,
            // A hub has an app server even if that one shuts down or is not the required one.
            Mode::Classic if !self.has_server(hub) => ClientHandler::Upstream,
            Mode::Classic if self.best(hub, sticky, None).is_some() => ClientHandler::AppServer,
            Mode::Classic => ClientHandler::Unavailable,
        }
    }

    /// Assigns a client to a server connection: of the app server that its token names, and among those to the one with the fewest
    /// clients. Connections of the app server `except`, and those that `accepts_clients` excludes, are not used. A client that migrates
    /// stays assigned to its old connection until it is released there.
    pub(crate) fn assign(
        &mut self,
        hub: &Hub,
        client: ConnectionId,
        sticky: Option<&StickyServer>,
        except: Option<&str>,
        accepts_clients: impl Fn(&C) -> bool,
    ) -> Option<(ServerConnectionId, C)> {
        loop {
            let id = self.best(hub, sticky, except)?;
            let entry = self.entry(hub, id)?;
            if accepts_clients(&entry.connection) {
                entry.clients.insert(client);
                return Some((id, entry.connection.clone()));
            }
            entry.is_draining = true;
        }
    }

    /// The connection does not carry the client any more.
    pub(crate) fn release(&mut self, hub: &Hub, client: ConnectionId, id: ServerConnectionId) {
        if let Some(entry) = self.entry(hub, id) {
            entry.clients.remove(&client);
        }
    }

    /// A connection by its id.
    pub(crate) fn connection(&self, hub: &Hub, id: ServerConnectionId) -> Option<C> {
        self.hubs.get(hub)?.iter().find(|entry| entry.id == id).map(|entry| entry.connection.clone())
    }

    /// Any connection of an app server, for messages to the app server itself.
    pub(crate) fn connection_of_server(&self, hub: &Hub, server: &str) -> Option<C> {
        let entries = self.hubs.get(hub)?;
        entries.iter().find(|entry| &*entry.server == server).map(|entry| entry.connection.clone())
    }

    /// The ids of the app servers that are connected for a hub, sorted.
    pub(crate) fn servers(&self, hub: &Hub) -> Vec<Arc<str>> {
        let mut servers: Vec<_> =
            self.hubs.get(hub).into_iter().flatten().map(|entry| Arc::clone(&entry.server)).collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    }

    /// All connections.
    pub(crate) fn connections(&self) -> Vec<C> {
        self.hubs.values().flatten().map(|entry| entry.connection.clone()).collect()
    }

    /// Whether every app server of the hub supports stateful reconnect; the negotiation needs it before an app server is
    /// assigned.
    pub(crate) fn all_stateful(&self, hub: &Hub) -> bool {
        let stateful = |entry: &Entry<C>| entry.purpose == ConnectionPurpose::Clients { stateful: true };
        let mut entries = self.hubs.get(hub).into_iter().flatten().filter(|entry| entry.carries_clients());
        entries.all(stateful)
    }

    fn has_server(&self, hub: &Hub) -> bool {
        self.hubs.get(hub).into_iter().flatten().any(Entry::carries_clients)
    }

    fn best(
        &self,
        hub: &Hub,
        sticky: Option<&StickyServer>,
        except: Option<&str>,
    ) -> Option<ServerConnectionId> {
        let usable = |entry: &&Entry<C>| {
            entry.carries_clients()
                && !entry.is_draining
                && except.is_none_or(|server| *entry.server != *server)
        };
        let usable = self.hubs.get(hub)?.iter().filter(usable);
        let wanted = |entry: &&Entry<C>| sticky.is_some_and(|sticky| *entry.server == *sticky.server);
        let fewest = |entry: &&Entry<C>| (entry.clients.len(), entry.id);
        let found = usable.clone().filter(wanted).min_by_key(fewest);
        if sticky.is_some_and(|sticky| sticky.required) {
            return found.map(|entry| entry.id);
        }
        found.or_else(|| usable.min_by_key(fewest)).map(|entry| entry.id)
    }

    fn entry(&mut self, hub: &Hub, id: ServerConnectionId) -> Option<&mut Entry<C>> {
        self.hubs.get_mut(hub)?.iter_mut().find(|entry| entry.id == id)
    }
}

impl<C> Entry<C> {
    fn carries_clients(&self) -> bool {
        matches!(self.purpose, ConnectionPurpose::Clients { .. })
    }
}

/// Sorted, so that the order does not depend on hashing.
fn sorted(clients: impl IntoIterator<Item = ConnectionId>) -> Vec<ConnectionId> {
    let mut clients: Vec<_> = clients.into_iter().collect();
    clients.sort_unstable();
    clients
}

#[cfg(test)]
mod tests;
