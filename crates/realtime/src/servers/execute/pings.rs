//! Pings of app servers that query the state of the service.

use std::sync::Arc;
use std::time::SystemTime;

use signalr_protocol::service::Message;

use crate::servers::request::Ping;
use crate::servers::server_connection::ServerConnection;
use crate::servers::shared::{Servers, lock};
use crate::servers::to_protocol;
use realtime_engine::Stopped;

impl Servers {
    /// Responds to a ping.
    pub(super) async fn ping(&self, server: &Arc<ServerConnection>, ping: Ping) -> Result<(), Stopped> {
        match ping {
            Ping::Alive => {}
            Ping::Echo(id) => server.send_queue.push(&Message::Ping { messages: vec!["echo", &id] }),
            Ping::Shutdown(how) => self.shut_down(server, how),
            Ping::Servers => {
                let servers = lock(&self.0.connections).servers(&server.hub);
                let names = servers.iter().map(|server| &**server);
                let value = to_protocol::servers(SystemTime::now(), names);
                server.send_queue.push(&Message::Ping { messages: vec!["servers", &value] });
            }
            Ping::Status => {
                let in_hub = self.engine().connection_count(Some(&server.hub)).await?;
                let clients = self.engine().connection_count(None).await?.to_string();
                let servers = lock(&self.0.connections).len().to_string();
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
                server.send_queue.push(&Message::Ping { messages });
            }
        }
        Ok(())
    }
}
