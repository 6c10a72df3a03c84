//! [`Mode`]: the service mode of Azure SignalR Service.

use serde::{Deserialize, Serialize};

/// Who handles the messages of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// App servers. Clients of a hub without a connected app server are rejected.
    Default,
    /// Upstreams. Connections of app servers that carry clients are rejected.
    Serverless,
    /// App servers for the hubs that have one connected, upstreams for the others.
    #[default]
    Classic,
}
