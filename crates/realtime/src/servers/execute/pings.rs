//! Pings by which app servers ask how things are.

use std::sync::Arc;
use std::time::SystemTime;

use signalr_protocol::service::Message;

use crate::engine::Stopped;
use crate::servers::link::Link;
use crate::servers::order::Ping;
use crate::servers::{Servers, lock, to_protocol};

impl Servers {
    /// Answers a ping.
    pub(super) async fn ping(&self, link: &Arc<Link>, ping: Ping) -> Result<(), Stopped> {
        match ping {
            Ping::Alive => {}
            Ping::Echo(id) => link.outbox.push(&Message::Ping { messages: vec!["echo", &id] }),
            Ping::Shutdown(how) => self.shut_down(link, how),
            Ping::Servers => {
                let servers = lock(&self.0.registry).servers(&link.hub);
                let names = servers.iter().map(|server| &**server);
                let value = to_protocol::servers(SystemTime::now(), names);
                link.outbox.push(&Message::Ping { messages: vec!["servers", &value] });
            }
            Ping::Status => {
                let in_hub = self.engine().connection_count(Some(&link.hub)).await?;
                let clients = self.engine().connection_count(None).await?.to_string();
                let servers = lock(&self.0.registry).len().to_string();
                let capacity = self.0.capacity.to_string();
                let status = if in_hub > 0 { "1" } else { "0" };
                let messages = vec![
                    "status",
                    status,
                    "clientcount",
                    &clients,
                    "servercount",
                    &servers,
                    "capacity",
                    &capacity,
                ];
                link.outbox.push(&Message::Ping { messages });
            }
        }
        Ok(())
    }
}
