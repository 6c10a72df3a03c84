//! Brings one client up to date: what it missed comes to it as the same calls that it would have had, in order, and then the new
//! ones.

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

/// Messages that are read at one time.
const READ_MESSAGES: usize = 256;
const READ_BYTES: usize = 1024 * 1024;

/// How often a client may fall behind while it is brought up to date.
const ROUNDS_MAX: usize = 1000;

/// What the replay did for a client that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Whether something that it missed is not kept any more.
    pub(crate) has_gap: bool,
    /// How many of the messages that it missed it was sent.
    pub(crate) messages: u64,
}

/// Why a client does not follow; the text reaches it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFollowed {
    /// No rule.
    #[error(
        "messages to this hub or group are not kept; a rule under [[realtime.history]] in the configuration keeps them"
    )]
    NotKept,
    /// No place for the group's log.
    #[error(
        "messages to this group are not kept now: as many groups as realtime.history_groups_max allows keep theirs; follow again later"
    )]
    TooManyLogs,
    /// The log could not be made.
    #[error("messages to this hub or group cannot be kept now; follow again later")]
    Open(#[source] OpenError),
    /// The position is none.
    #[error("a position is what chappe.follow or chappe.position said, such as \"5f3a-17\"")]
    Position,
    /// No membership and no role.
    #[error(
        "the client is no member of the group, and its token has no role that lets it join: chappe.joinLeaveGroup.<group>"
    )]
    NoMember,
    /// Too many groups.
    #[error("the client is in as many groups as it may be")]
    TooManyGroups,
    /// It comes too fast.
    #[error("messages come faster than this client can be brought up to date; follow again")]
    TooFast,
    /// It went away.
    #[error("the connection has ended")]
    Gone,
    /// The log cannot be read.
    #[error("kept messages cannot be read")]
    Read(#[source] JournalReadError),
}

/// What is needed to bring a client up to date.
pub(crate) struct Replay<'a> {
    pub(crate) engine: &'a EngineHandle,
    pub(crate) journal: &'a dyn Journal,
    pub(crate) instance: &'a Instance,
    /// None where nothing is kept.
    pub(crate) history: Option<&'a History>,
    pub(crate) hub: &'a Hub,
    pub(crate) connection: ConnectionId,
}

impl Replay<'_> {
    /// Lets the client follow a group, or the hub: from now on, or from a position. The client has then been sent the response, between
    /// what it missed and what is new.
    pub(crate) async fn follow<R: FollowResponse>(
        &self,
        group: Option<&GroupName>,
        position: Option<&str>,
        may_join: bool,
        response: impl Fn(Followed) -> R,
    ) -> Result<(), NotFollowed> {
        let history = self.history.ok_or(NotFollowed::NotKept)?;
        let rule = history.rule_of(self.hub, group).ok_or(NotFollowed::NotKept)?;
        let wanted =
            position.map(|text| StreamPosition::parse(text).ok_or(NotFollowed::Position)).transpose()?;
        if let (Some(group), false) = (group, may_join) {
            // Only those who may follow the group let a log be made for it.
            let is_member = self.engine.connection_in_group(self.hub, self.connection, group).await;
            if !is_member.map_err(|_| NotFollowed::Gone)? {
                return Err(NotFollowed::NoMember);
            }
        }
        let name = journal_name(self.hub, group);
        // Held until the end: a log that was made anew meanwhile would count from 0 again.
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
            FollowResult::NotMember => return Err(NotFollowed::NoMember),
            FollowResult::TooManyGroups => return Err(NotFollowed::TooManyGroups),
            FollowResult::Since(since) => Some(since),
            FollowResult::Withheld => None,
        };
        let followed = self.bring(rule, group, (&name, info), wanted, before, response).await;
        if followed.is_err() {
            // Nothing may stay withheld from a client that was told that it does not follow.
            let _ = self.engine.unfollow(self.connection, group).await;
        }
        followed
    }

    async fn bring<R: FollowResponse>(
        &self,
        rule: &Rule,
        group: Option<&GroupName>,
        (name, info): (&Name, JournalInfo),
        wanted: Option<StreamPosition>,
        before: Option<u64>,
        response: impl Fn(Followed) -> R,
    ) -> Result<(), NotFollowed> {
        let (mut next, mut has_gap) = self.begin(rule, info, wanted);
        let mut messages = 0;
        for _ in 0..ROUNDS_MAX {
            let end = before.unwrap_or(u64::MAX);
            while next < end {
                let from = Position { epoch: info.epoch, offset: Offset(next) };
                match self.journal.read(self.instance, name, from, READ_MESSAGES, READ_BYTES).await {
                    Ok(entries) if entries.is_empty() => break,
                    Ok(entries) => {
                        // Nobody reads for a client that is gone.
                        let is_there = self.engine.connection_exists(self.hub, self.connection).await;
                        if !is_there.map_err(|_| NotFollowed::Gone)? {
                            return Err(NotFollowed::Gone);
                        }
                        for entry in entries.into_iter().take_while(|entry| entry.offset.0 < end) {
                            next = entry.offset.0 + 1;
                            if self.send(rule, entry, &mut has_gap).await? {
                                messages += 1;
                                self.tell_position(
                                    group,
                                    StreamPosition { epoch: info.epoch.0, offset: next },
                                )
                                .await?;
                            }
                        }
                    }
                    // What was to come next went away meanwhile.
                    Err(JournalReadError::Trimmed(first)) => (next, has_gap) = (first.offset.0, true),
                    Err(error) => return Err(NotFollowed::Read(error)),
                }
            }
            let response = response(Followed { has_gap, messages });
            let caught_up = self.engine.catch_up(self.connection, group, next, response).await;
            match caught_up.map_err(|_| NotFollowed::Gone)? {
                CatchUpResult::Gone => return Err(NotFollowed::Gone),
                CatchUpResult::Live => return Ok(()),
                CatchUpResult::Behind(_) => {}
            }
        }
        Err(NotFollowed::TooFast)
    }

    /// Where to begin, and whether something is missing before.
    fn begin(&self, rule: &Rule, info: JournalInfo, wanted: Option<StreamPosition>) -> (u64, bool) {
        let (first, end) = (info.first.0, info.next.0);
        // Some more than the rule says may still be there.
        let first = first.max(end.saturating_sub(rule.messages.get().into()));
        match wanted {
            None => (end, false),
            Some(wanted) if Epoch(wanted.epoch) != info.epoch || wanted.offset > end => (first, true),
            Some(wanted) if wanted.offset < first => (first, true),
            Some(wanted) => (wanted.offset, false),
        }
    }

    /// Sends one kept message to the client alone; says whether it did.
    async fn send(&self, rule: &Rule, entry: Entry, has_gap: &mut bool) -> Result<bool, NotFollowed> {
        if is_over(&entry, rule) {
            *has_gap = true;
            return Ok(false);
        }
        let Some(message) = OutgoingMessage::from_record(&entry.record) else { return Ok(false) };
        self.publish(message).await?;
        Ok(true)
    }

    /// As behind each message that comes later: a client that goes away in the middle knows where it is.
    async fn tell_position(
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

/// Whether a message's time is over, although it is still there.
fn is_over(entry: &Entry, rule: &Rule) -> bool {
    let at = entry.record.headers.iter().find(|(name, _)| name == AT);
    let at_ms = at.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
    let age = at_ms.map(|at_ms| {
        SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_millis(at_ms)).unwrap_or_default()
    });
    age.is_some_and(|age| age > Duration::from_secs(rule.seconds.get()))
}
