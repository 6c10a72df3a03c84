//! Recovery of one client: the messages that it missed are sent as the same invocations that it would have received, in order;
//! then it follows new ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use state::{Entry, Epoch, Instance, Journal, JournalInfo, JournalReadError, Name, Offset, Position};

use super::handle::History;
use super::names::journal_name;
use super::options::Rule;
use super::requests::{AT, OpenError};
use realtime_engine::{
    CatchUpResult, ConnectionId, EngineHandle, FollowResponse, FollowResult, GroupName, Hub, OutgoingMessage,
    Publish, StreamPosition, Target,
};

/// Messages that are read at a time.
const READ_MESSAGES: usize = 256;
const READ_BYTES: usize = 1024 * 1024;

/// How often a client may fall behind during recovery.
const ROUNDS_MAX: usize = 1000;

/// The result of the recovery of a client that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Whether messages that it missed are no longer stored.
    pub(crate) has_gap: bool,
    /// The number of missed messages that were sent.
    pub(crate) messages: u64,
}

/// Why a client cannot follow. The client receives the text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFollowed {
    /// No rule matches.
    #[error(
        "messages to this hub or group are not stored; add a rule for it under [[realtime.history]] to the configuration"
    )]
    NotStored,
    /// The limit on logs of groups is reached.
    #[error(
        "messages to this group are not stored now, because the number of groups with stored messages has reached realtime.history_groups_max; follow again later"
    )]
    TooManyLogs,
    /// The log could not be created.
    #[error("messages to this hub or group cannot be stored now; follow again later")]
    Open(#[source] OpenError),
    /// The position is invalid.
    #[error(
        "the position is invalid; use one that chappe.follow or chappe.position returned, such as \"5f3a-17\""
    )]
    Position,
    /// The client is not a member and has no role.
    #[error(
        "the client is not a member of the group, and its token has no role that lets it join: chappe.joinLeaveGroup.<group>"
    )]
    NotMember,
    /// The limit of groups of a connection is reached.
    #[error("the client is in too many groups; leave one, or raise realtime.engine.connection_groups_max")]
    TooManyGroups,
    /// New messages arrive faster than they can be sent.
    #[error("messages arrive faster than this client receives the missed ones; follow again")]
    TooFast,
    /// The client left the group meanwhile.
    #[error("the client left the group before it had received the missed messages; join it and follow again")]
    Left,
    /// The client has disconnected.
    #[error("the connection has ended")]
    Gone,
    /// The log cannot be read.
    #[error("stored messages cannot be read")]
    Read(#[source] JournalReadError),
}

/// The recovery of a client.
pub(crate) struct Replay<'a> {
    pub(crate) engine: &'a EngineHandle,
    pub(crate) journal: &'a dyn Journal,
    pub(crate) instance: &'a Instance,
    /// `None` if no messages are stored.
    pub(crate) history: Option<&'a History>,
    pub(crate) hub: &'a Hub,
    pub(crate) connection: ConnectionId,
}

impl Replay<'_> {
    /// Lets the client follow a group or the hub: from now on, or from a position. The response is sent after the missed messages and
    /// before new ones.
    pub(crate) async fn follow<R: FollowResponse>(
        &self,
        group: Option<&GroupName>,
        position: Option<&str>,
        may_join: bool,
        response: impl Fn(Followed) -> R,
    ) -> Result<(), NotFollowed> {
        let history = self.history.ok_or(NotFollowed::NotStored)?;
        let rule = history.rule_of(self.hub, group).ok_or(NotFollowed::NotStored)?;
        let wanted =
            position.map(|text| StreamPosition::parse(text).ok_or(NotFollowed::Position)).transpose()?;
        if let (Some(group), false) = (group, may_join) {
            // A log is only created for a client that may follow the group.
            let is_member = self.engine.connection_in_group(self.hub, self.connection, group).await;
            if !is_member.map_err(|_| NotFollowed::Gone)? {
                return Err(NotFollowed::NotMember);
            }
        }
        let name = journal_name(self.hub, group);
        // Held until the end: a log that is removed and created again would start at offset 0.
        let _in_use = history.open(&name, rule).await.map_err(|error| match error {
            OpenError::Full => NotFollowed::TooManyLogs,
            OpenError::Stopped => NotFollowed::Gone,
            error => NotFollowed::Open(error),
        })?;
        let rule = &history.rules[rule];
        let info = self.journal.info(self.instance, &name).await.map_err(NotFollowed::Read)?;
        let begun = self.engine.follow(self.connection, group, may_join, info.epoch.0).await;
        let before = match begun.map_err(|_| NotFollowed::Gone)? {
            FollowResult::NoConnection => return Err(NotFollowed::Gone),
            FollowResult::NotMember => return Err(NotFollowed::NotMember),
            FollowResult::TooManyGroups => return Err(NotFollowed::TooManyGroups),
            FollowResult::Since(since) => Some(since),
            FollowResult::Withheld => None,
        };
        let followed = self.send_missed(rule, group, (&name, info), wanted, before, response).await;
        if followed.is_err() {
            // New messages must not stay withheld from a client that does not follow.
            let _ = self.engine.unfollow(self.connection, group).await;
        }
        followed
    }

    async fn send_missed<R: FollowResponse>(
        &self,
        rule: &Rule,
        group: Option<&GroupName>,
        (name, info): (&Name, JournalInfo),
        wanted: Option<StreamPosition>,
        before: Option<u64>,
        response: impl Fn(Followed) -> R,
    ) -> Result<(), NotFollowed> {
        let (mut next, mut has_gap) = self.first_offset(rule, info, wanted);
        let mut messages = 0;
        for _ in 0..ROUNDS_MAX {
            let end = before.unwrap_or(u64::MAX);
            while next < end {
                let from = Position { epoch: info.epoch, offset: Offset(next) };
                match self.journal.read(self.instance, name, from, READ_MESSAGES, READ_BYTES).await {
                    Ok(entries) if entries.is_empty() => break,
                    Ok(entries) => {
                        // Do not read for a client that has disconnected.
                        let is_there = self.engine.connection_exists(self.hub, self.connection).await;
                        if !is_there.map_err(|_| NotFollowed::Gone)? {
                            return Err(NotFollowed::Gone);
                        }
                        for entry in entries.into_iter().take_while(|entry| entry.offset.0 < end) {
                            next = entry.offset.0 + 1;
                            if self.send(rule, entry, &mut has_gap).await? {
                                messages += 1;
                                self.send_position(
                                    group,
                                    StreamPosition { epoch: info.epoch.0, offset: next },
                                )
                                .await?;
                            }
                        }
                    }
                    // The next messages were trimmed meanwhile.
                    Err(JournalReadError::Trimmed(first)) => (next, has_gap) = (first.offset.0, true),
                    Err(error) => return Err(NotFollowed::Read(error)),
                }
            }
            let response = response(Followed { has_gap, messages });
            let caught_up = self.engine.catch_up(self.connection, group, next, response).await;
            match caught_up.map_err(|_| NotFollowed::Gone)? {
                CatchUpResult::Gone => return Err(self.left_or_gone().await),
                CatchUpResult::Live => return Ok(()),
                CatchUpResult::Behind(_) => {}
            }
        }
        Err(NotFollowed::TooFast)
    }

    /// Why the client does not follow any more.
    async fn left_or_gone(&self) -> NotFollowed {
        let is_there = self.engine.connection_exists(self.hub, self.connection).await;
        if is_there.unwrap_or(false) { NotFollowed::Left } else { NotFollowed::Gone }
    }

    /// The offset to start from, and whether messages before it are missing.
    fn first_offset(&self, rule: &Rule, info: JournalInfo, wanted: Option<StreamPosition>) -> (u64, bool) {
        let (first, end) = (info.first.0, info.next.0);
        // The log may contain more messages than the rule allows.
        let first = first.max(end.saturating_sub(rule.messages.get().into()));
        match wanted {
            None => (end, false),
            Some(wanted) if Epoch(wanted.epoch) != info.epoch || wanted.offset > end => (first, true),
            Some(wanted) if wanted.offset < first => (first, true),
            Some(wanted) => (wanted.offset, false),
        }
    }

    /// Sends one stored message to this client only; returns whether it was sent.
    async fn send(&self, rule: &Rule, entry: Entry, has_gap: &mut bool) -> Result<bool, NotFollowed> {
        if is_expired(&entry, rule) {
            *has_gap = true;
            return Ok(false);
        }
        let Some(message) = OutgoingMessage::from_record(&entry.record) else { return Ok(false) };
        self.publish(message).await?;
        Ok(true)
    }

    /// As after each new message: a client that disconnects during recovery knows its position.
    async fn send_position(
        &self,
        group: Option<&GroupName>,
        next: StreamPosition,
    ) -> Result<(), NotFollowed> {
        let target = group.map_or(Target::All, |group| Target::Group(group.clone()));
        self.publish(OutgoingMessage::position(&target, next)).await
    }

    async fn publish(&self, message: OutgoingMessage) -> Result<(), NotFollowed> {
        let publish = Publish {
            hub: self.hub.clone(),
            target: Target::Connection(self.connection),
            excluded: Vec::new(),
            excluded_users: Vec::new(),
            message,
            trace: None,
        };
        self.engine.publish(publish).await.map_err(|_| NotFollowed::Gone)
    }
}

/// Whether a message is older than the rule allows, although it is still stored.
fn is_expired(entry: &Entry, rule: &Rule) -> bool {
    let at = entry.record.headers.iter().find(|(name, _)| name == AT);
    let at_ms = at.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
    let age = at_ms.map(|at_ms| {
        SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_millis(at_ms)).unwrap_or_default()
    });
    age.is_some_and(|age| age > Duration::from_secs(rule.seconds.get()))
}
