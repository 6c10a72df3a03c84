//! [`Connection`]: what a shard knows of one client. Kept small: there may be a hundred thousand that do nothing.

use std::rc::Rc;

use signalr_protocol::{HubProtocol, Splitter};
use websocket::Decoder;

use super::deadlines::Tick;
use super::pending::{Backlog, Run};
use crate::engine::{Admission, ConnectionId};

/// Number of a connection in its shard's table; used again after it ends.
pub(crate) type Slot = u32;

/// One client. What most connections do not need most of the time is boxed.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: edge::Socket,
    pub(crate) decoder: Decoder,
    /// What waits for the end of the turn.
    pub(crate) run: Option<Rc<Run>>,
    /// What waits for the socket; while it is there, `run` is not.
    pub(crate) backlog: Option<Box<Backlog>>,
    pub(crate) stage: Stage,
    pub(crate) rare: Option<Box<Rare>>,
    pub(crate) id: ConnectionId,
    /// Tells this connection from others that had its slot.
    pub(crate) generation: u32,
    /// When something was last written.
    pub(crate) sent: Tick,
    /// When something last came, or, once closing, when that began.
    pub(crate) heard: Tick,
    pub(crate) protocol: HubProtocol,
    /// Whether it is on the shard's list of connections to write to.
    pub(crate) dirty: bool,
}

/// How far a connection is in its life.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Admitted; its first record has not come.
    Handshaking(Box<Handshaking>),
    /// It receives what is published.
    Open(Places),
    /// A close is on its way; what still comes is thrown away.
    Closing {
        /// Our side of the socket is shut.
        shut: bool,
    },
}

/// What is needed until the handshake is done.
#[derive(Debug)]
pub(crate) struct Handshaking {
    pub(crate) admission: Admission,
    pub(crate) deadline: Tick,
    /// The beginning of the record, if it came in pieces.
    pub(crate) record: Vec<u8>,
}

/// Where a connection stands in the shard's indexes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub(crate) hub: HubKey,
    pub(crate) hub_position: u32,
    pub(crate) user: Option<(UserKey, u32)>,
}

/// What few connections have.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Its groups, and where it stands among their members.
    pub(crate) groups: Vec<(GroupKey, u32)>,
    /// The beginning of a hub message that came in pieces.
    pub(crate) partial: Option<Splitter>,
    /// When its token ends.
    pub(crate) expires: Option<Tick>,
}

/// Number of a hub in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HubKey(pub(crate) u32);

/// Number of a user in its shard. The niche makes `Option` of a place free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UserKey(pub(crate) u32);

/// Number of a group in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GroupKey(pub(crate) u32);

impl Connection {
    pub(crate) fn places(&self) -> Option<Places> {
        match self.stage {
            Stage::Open(places) => Some(places),
            Stage::Handshaking(_) | Stage::Closing { .. } => None,
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing { .. })
    }

    pub(crate) fn groups(&self) -> &[(GroupKey, u32)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.groups)
    }
}
