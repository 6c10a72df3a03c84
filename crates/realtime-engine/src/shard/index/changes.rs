//! [`Changes`]: recorded changes of groups: which connections joined and left them.

use crate::{ConnectionId, GroupName, Hub, UserId};

/// A connection joined a group or left it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) hub: Hub,
    pub(crate) connection: ConnectionId,
    pub(crate) user: Option<UserId>,
    pub(crate) group: GroupName,
    pub(crate) joined: bool,
}

/// The changes that were not reported yet; they are recorded only while the live trace has a subscriber.
#[derive(Debug, Default)]
pub(super) struct Changes {
    is_watched: bool,
    untold: Vec<Change>,
}

impl Changes {
    /// Sets whether changes are recorded.
    pub(super) fn watch(&mut self, is_watched: bool) {
        self.is_watched = is_watched;
        if !is_watched {
            self.untold = Vec::new();
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        self.is_watched
    }

    pub(super) fn record(&mut self, change: Change) {
        self.untold.push(change);
    }

    /// Removes and returns the recorded changes.
    pub(super) fn drain(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.untold)
    }
}
