//! [`Admission`]: with what a client enters the engine, and what is kept of it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use signalr_protocol::Transport;

use super::{AppServer, ConnectionId, Hub, UserId};

/// With what a client enters the engine: who it is, by the words of its token.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The hub.
    pub hub: Hub,
    /// Its public name, from [`EngineHandle::issue`](super::EngineHandle::issue).
    pub connection: ConnectionId,
    /// Its user.
    pub user: Option<UserId>,
    /// How long the client has for its handshake; absent means the engine's own setting.
    pub handshake_timeout: Option<Duration>,
    /// When the connection is to be closed because its token ends; absent means never.
    pub expires_at: Option<SystemTime>,
    /// What an upstream or an app server is told about the client, and what a refresh of its authentication begins with; absent where
    /// nobody asks.
    pub facts: Option<Arc<Facts>>,
    /// What the client may do without a backend.
    pub roles: Option<Roles>,
    /// Whether negotiate promised that a new socket may take the place of a lost one.
    pub stateful: bool,
    /// The app server that answers for the client, in Default mode.
    pub server: Option<Arc<dyn AppServer>>,
    /// Dropped when the engine has let go of the connection.
    pub guard: Option<Guard>,
}

/// What a client brought along, for those who answer its calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The payload of its token: a JSON object.
    pub claims: Box<str>,
    /// The query of its address, without its token and its id.
    pub query: Box<str>,
    /// How it came, where that is known.
    pub arrival: Option<Arrival>,
}

/// How a client reached the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// By which transport.
    pub transport: Transport,
    /// The address of the other end of its connection: its own, or that of a proxy between.
    pub address: Option<IpAddr>,
}

/// What a client may do to groups by itself, from the `role` claims of its token. Nothing unless it is said.
///
/// The words are those of Azure Web PubSub (`webpubsub.joinLeaveGroup`, `webpubsub.sendToGroup`, each for all groups or with
/// `.<group>` for one), with `chappe.` accepted in place of `webpubsub.`: SignalR Service itself gives roles no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    join: Grant,
    send: Grant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Grant {
    Only(Box<[Box<str>]>),
    Every,
}

/// Something that ends when a connection does.
#[derive(Clone)]
pub struct Guard(#[allow(dead_code, reason = "held for its drop")] Arc<dyn Send + Sync>);

impl Guard {
    /// Holds `what` until the connection is gone.
    pub fn new(what: impl Send + Sync + 'static) -> Self {
        Self(Arc::new(what))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard(..)")
    }
}

impl Default for Grant {
    fn default() -> Self {
        Self::Only(Box::default())
    }
}

impl Grant {
    fn covers(&self, group: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Only(groups) => groups.iter().any(|granted| **granted == *group),
        }
    }
}

impl Roles {
    /// Reads the roles of a token; those that mean something else are skipped. `None` where nothing is granted.
    pub fn from_claims<'a>(roles: impl Iterator<Item = &'a str>) -> Option<Self> {
        let (mut join, mut send) = (Some(Vec::new()), Some(Vec::new()));
        for role in roles {
            let Some(rest) = role.strip_prefix("webpubsub.").or_else(|| role.strip_prefix("chappe.")) else {
                continue;
            };
            let (what, group) =
                rest.split_once('.').map_or((rest, None), |(what, group)| (what, Some(group)));
            let grant = match what {
                "joinLeaveGroup" => &mut join,
                "sendToGroup" => &mut send,
                _ => continue,
            };
            match group {
                None => *grant = None,
                Some(group) => {
                    if let Some(groups) = grant {
                        groups.push(group.into());
                    }
                }
            }
        }
        let grant =
            |groups: Option<Vec<Box<str>>>| groups.map_or(Grant::Every, |some| Grant::Only(some.into()));
        let roles = Self { join: grant(join), send: grant(send) };
        (roles != Self::default()).then_some(roles)
    }

    /// Whether the client may join and leave the group.
    pub fn may_join(&self, group: &str) -> bool {
        self.join.covers(group)
    }

    /// Whether the client may send to the group.
    pub fn may_send(&self, group: &str) -> bool {
        self.send.covers(group)
    }
}

impl Admission {
    /// A client of a hub, with nothing special about it.
    pub fn new(hub: Hub, connection: ConnectionId, user: Option<UserId>) -> Self {
        Self {
            hub,
            connection,
            user,
            handshake_timeout: None,
            expires_at: None,
            facts: None,
            roles: None,
            stateful: false,
            server: None,
            guard: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Roles;

    #[test]
    fn roles_grant_what_they_name_and_nothing_else() {
        let roles = |names: &[&'static str]| Roles::from_claims(names.iter().copied());
        assert_eq!(roles(&["admin", "webpubsub.", "chappe.rule", "sendToGroup"]), None);
        let some = roles(&["webpubsub.joinLeaveGroup.a.b", "chappe.sendToGroup"]).unwrap();
        assert!(some.may_join("a.b") && !some.may_join("a") && !some.may_join("c"));
        assert!(some.may_send("a.b") && some.may_send("anything"));
        let all = roles(&["chappe.joinLeaveGroup.x", "chappe.joinLeaveGroup"]).unwrap();
        assert!(all.may_join("y") && !all.may_send("y"));
    }
}
