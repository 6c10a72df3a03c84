//! [`Followers`]: which messages each member of a hub or group with history has received, and which members follow that history.
//! Pure: it has neither connections nor the log.
//!
//! Messages are appended to the log first and reach the shard afterwards, in the order of their offsets. A member that starts to
//! follow receives the older messages from the log (a *replay*) and the newer ones as they reach the shard; the states of
//! [`Progress`] ensure that it receives each of them once.

use std::collections::HashMap;
use std::hash::Hash;

use supervision::is_mutated;

use crate::{FollowResult, StreamPosition};

/// The members of one hub or group. `K` identifies a member.
#[derive(Debug)]
pub(super) struct Followers<K> {
    /// The epoch of the log of all offsets below.
    epoch: Option<u64>,
    /// The offset of the newest message of that log that reached the shard.
    newest: Option<u64>,
    /// A member without an entry does not follow, and it is unknown which messages it has received.
    members: HashMap<K, Progress>,
    /// The live members, sorted, if the last message skipped no member and no member has changed since. Searching and sorting a
    /// table of 100,000 members takes 10 ms.
    live: Option<Vec<K>>,
}

/// The progress of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It does not follow. It has received every message from offset `since` on.
    NotFollowing {
        /// Higher than the offset of the next message if a replay read the log faster than the shard.
        since: u64,
    },
    /// A replay sends it older messages. New messages are withheld from it; the replay finds them in the log.
    CatchingUp {
        /// The newest message that was withheld.
        withheld: Option<u64>,
    },
    /// A replay sends it older messages. It receives each new message, without the message's position: the response to its
    /// invocation has the newest one.
    Replaying {
        /// As for [`Progress::Live`].
        since: Option<u64>,
    },
    /// It receives each new message, and the message's position.
    Live {
        /// As above; `None` after the log has been replaced, until the first message of the new one.
        since: Option<u64>,
    },
}

/// Whether a member has received all older messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaughtUp {
    /// It does not follow.
    Gone,
    /// It has received every message before this position.
    Live(StreamPosition),
    /// Messages up to this offset were withheld from it.
    Behind(u64),
}

impl<K> Default for Followers<K> {
    fn default() -> Self {
        Self { epoch: None, newest: None, members: HashMap::new(), live: None }
    }
}

impl<K: Copy + Eq + Hash + Ord> Followers<K> {
    /// A message is delivered to `receivers`, a subset of `members`: removes the receivers that must not receive it now, and
    /// returns those that receive its position, sorted.
    pub(super) fn pass(&mut self, position: StreamPosition, members: &[K], receivers: &mut Vec<K>) -> Vec<K> {
        let StreamPosition { epoch, offset } = position;
        if self.enter_epoch(epoch) {
            // Every member at the time of a log's first message receives all of that log.
            for member in members {
                match self.members.entry(*member).or_insert(Progress::NotFollowing { since: offset }) {
                    Progress::NotFollowing { .. } | Progress::CatchingUp { .. } => {}
                    Progress::Replaying { since } | Progress::Live { since } => *since = Some(offset),
                }
            }
        }
        self.newest = Some(offset);
        if let Some(live) = &self.live {
            return live.clone();
        }
        let mut with_position = Vec::new();
        let mut skips_a_member = false;
        for (member, progress) in &mut self.members {
            if let Progress::CatchingUp { withheld } = progress {
                *withheld = Some(offset);
            }
            match progress {
                _ if progress.skips(offset) => skips_a_member = true,
                Progress::Live { .. } => with_position.push(*member),
                Progress::Replaying { .. } if is_mutated("position-before-response") => {
                    with_position.push(*member);
                }
                Progress::NotFollowing { .. } | Progress::CatchingUp { .. } | Progress::Replaying { .. } => {}
            }
        }
        if skips_a_member {
            receivers
                .retain(|member| !self.members.get(member).is_some_and(|progress| progress.skips(offset)));
        }
        // The order of a hash table differs between runs, and is bad for the cache.
        with_position.sort_unstable();
        if !skips_a_member {
            // A later message skips no member either.
            self.live = Some(with_position.clone());
        }
        with_position
    }

    /// Adds a member: it receives new messages from now on.
    pub(super) fn join(&mut self, member: K) {
        if let Some(newest) = self.newest {
            let before = self.members.insert(member, Progress::NotFollowing { since: newest + 1 });
            debug_assert!(!matches!(before, Some(Progress::Live { .. })), "a member joins once");
        }
    }

    /// Removes a member. The cost does not depend on the number of members.
    pub(super) fn leave(&mut self, member: K) {
        if let Some(Progress::Live { .. }) = self.members.remove(&member) {
            self.live = None;
        }
        if self.members.len() * 4 < self.members.capacity() {
            self.members.shrink_to(self.members.len() * 2);
        }
    }

    /// A member starts to follow a log of this epoch: either it has received everything since some offset and lacks only earlier
    /// messages, or messages are withheld from it until [`Followers::catch_up`].
    pub(super) fn follow(&mut self, member: K, epoch: u64) -> FollowResult {
        self.live = None;
        self.enter_epoch(epoch);
        let next = self.newest.map(|newest| newest + 1);
        let (progress, result) = match self.members.get(&member) {
            Some(
                Progress::NotFollowing { since }
                | Progress::Replaying { since: Some(since) }
                | Progress::Live { since: Some(since) },
            ) if Some(*since) != next => {
                (Progress::Replaying { since: Some(*since) }, FollowResult::Since(*since))
            }
            // It has received nothing yet; newer messages are withheld, so that older ones arrive first.
            _ => (Progress::CatchingUp { withheld: None }, FollowResult::Withheld),
        };
        self.members.insert(member, progress);
        result
    }

    /// A replay has sent the member all messages before offset `next`, or before the first one that it received otherwise.
    pub(super) fn catch_up(&mut self, member: K, next: u64) -> CaughtUp {
        self.live = None;
        let (Some(progress), Some(epoch)) = (self.members.get_mut(&member), self.epoch) else {
            return CaughtUp::Gone;
        };
        let since = match *progress {
            Progress::NotFollowing { .. } => return CaughtUp::Gone,
            Progress::CatchingUp { withheld: Some(newest) } if newest >= next => {
                return CaughtUp::Behind(newest);
            }
            Progress::CatchingUp { .. } => Some(next),
            // For `Live`, another replay for the same member was faster.
            Progress::Replaying { since } | Progress::Live { since } => since,
        };
        *progress = Progress::Live { since };
        let newest = self.newest.map_or(0, |newest| newest + 1);
        CaughtUp::Live(StreamPosition { epoch, offset: newest.max(since.unwrap_or(next)) })
    }

    /// The member stops following, and stays a member.
    pub(super) fn unfollow(&mut self, member: K) {
        self.live = None;
        let since = match self.members.get(&member) {
            None | Some(Progress::NotFollowing { .. }) => return,
            Some(Progress::Replaying { since } | Progress::Live { since }) => *since,
            // Withheld messages have not been sent; the next message will be.
            Some(Progress::CatchingUp { .. }) => self.newest.map(|newest| newest + 1),
        };
        match since {
            Some(since) => self.members.insert(member, Progress::NotFollowing { since }),
            None => self.members.remove(&member),
        };
    }

    /// Starts a new epoch, in which offsets of the earlier log are invalid. All messages of the earlier log have been delivered:
    /// a log is replaced by the task that passes its messages to the shards, and not while a replay reads it. Returns whether the
    /// log is a new one.
    fn enter_epoch(&mut self, epoch: u64) -> bool {
        if self.epoch == Some(epoch) {
            return false;
        }
        (self.epoch, self.newest, self.live) = (Some(epoch), None, None);
        self.members.retain(|_, progress| match progress {
            Progress::NotFollowing { .. } => false,
            Progress::CatchingUp { withheld } => {
                *withheld = None;
                true
            }
            Progress::Replaying { since } | Progress::Live { since } => {
                *since = None;
                true
            }
        });
        true
    }
}

impl Progress {
    /// Whether a new message is not sent to the member now, because a replay sends it, or has sent it.
    fn skips(self, offset: u64) -> bool {
        match self {
            Self::CatchingUp { .. } => true,
            Self::NotFollowing { since }
            | Self::Replaying { since: Some(since) }
            | Self::Live { since: Some(since) } => offset < since,
            Self::Replaying { since: None } | Self::Live { since: None } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::hash::Hasher;

    use super::Progress::{CatchingUp, Live, NotFollowing, Replaying};
    use super::*;

    const EPOCH: u64 = 10;

    /// An event of member 1; member 2 only receives.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Join,
        Leave,
        Follow(u64, FollowResult),
        CatchUp(u64, CaughtUp),
        Unfollow,
        /// A message of an epoch, with whether member 1 receives it, and whether it receives its position.
        Pass(u64, u64, bool, bool),
    }
    use Event::{CatchUp, Follow, Join, Leave, Pass, Unfollow};

    struct Case {
        name: &'static str,
        before: Option<Progress>,
        newest: Option<u64>,
        events: &'static [Event],
        after: Option<Progress>,
    }

    /// The member is live; it has received all messages before offset `next`.
    const fn live(next: u64) -> CaughtUp {
        CaughtUp::Live(StreamPosition { epoch: EPOCH, offset: next })
    }

    const SENT: bool = true;
    const WITH_POSITION: bool = true;

    #[rustfmt::skip]
    const CASES: &[Case] = &[
        Case { name: "a member that joins before the first message is not tracked",
            before: None, newest: None, events: &[Join], after: None },
        Case { name: "a member that joins later has everything from the next message on",
            before: None, newest: Some(4), events: &[Join, Pass(EPOCH, 5, SENT, false)], after: Some(NotFollowing { since: 5 }) },
        Case { name: "a member that leaves is not tracked any more",
            before: Some(Live { since: Some(3) }), newest: Some(4), events: &[Leave], after: None },
        Case { name: "a member to which nothing was sent catches up from the log",
            before: None, newest: Some(4), events: &[Join, Follow(EPOCH, FollowResult::Withheld)],
            after: Some(CatchingUp { withheld: None }) },
        Case { name: "a member that received messages lacks only earlier ones, and receives positions after its response",
            before: Some(NotFollowing { since: 3 }), newest: Some(4),
            events: &[Follow(EPOCH, FollowResult::Since(3)), Pass(EPOCH, 5, SENT, false), CatchUp(3, live(6)),
                Pass(EPOCH, 6, SENT, WITH_POSITION)],
            after: Some(Live { since: Some(3) }) },
        Case { name: "a live follower that follows again lacks only earlier messages, and receives positions after its response",
            before: Some(Live { since: Some(3) }), newest: Some(4),
            events: &[Follow(EPOCH, FollowResult::Since(3)), Pass(EPOCH, 5, SENT, false), CatchUp(3, live(6)),
                Pass(EPOCH, 6, SENT, WITH_POSITION)],
            after: Some(Live { since: Some(3) }) },
        Case { name: "a failed replay does not change which messages a member has received",
            before: Some(Replaying { since: Some(3) }), newest: Some(4), events: &[Unfollow, Pass(EPOCH, 5, SENT, false)],
            after: Some(NotFollowing { since: 3 }) },
        Case { name: "a member whose replay passed the newest message continues after the replay",
            before: Some(NotFollowing { since: 7 }), newest: Some(4),
            events: &[Follow(EPOCH, FollowResult::Since(7)), Pass(EPOCH, 5, false, false), CatchUp(7, live(7))],
            after: Some(Live { since: Some(7) }) },
        Case { name: "the first message of a new log is sent during a replay, without its position",
            before: Some(Replaying { since: Some(3) }), newest: Some(9), events: &[Pass(11, 0, SENT, false)],
            after: Some(Replaying { since: Some(0) }) },
        Case { name: "a live follower that was sent nothing yet catches up again",
            before: Some(Live { since: Some(5) }), newest: Some(4),
            events: &[Follow(EPOCH, FollowResult::Withheld), Pass(EPOCH, 5, false, false)],
            after: Some(CatchingUp { withheld: Some(5) }) },
        Case { name: "messages are withheld while a replay runs, and it reads them from the log",
            before: None, newest: Some(4),
            events: &[Follow(EPOCH, FollowResult::Withheld), Pass(EPOCH, 5, false, false), CatchUp(5, CaughtUp::Behind(5)),
                CatchUp(6, live(6)), Pass(EPOCH, 6, SENT, WITH_POSITION)],
            after: Some(Live { since: Some(6) }) },
        Case { name: "a message that the replay read before it passed is not sent twice",
            before: Some(CatchingUp { withheld: None }), newest: Some(4),
            events: &[CatchUp(7, live(7)), Pass(EPOCH, 5, false, false), Pass(EPOCH, 6, false, false),
                Pass(EPOCH, 7, SENT, WITH_POSITION)],
            after: Some(Live { since: Some(7) }) },
        Case { name: "nor after the member has stopped following",
            before: Some(Live { since: Some(6) }), newest: Some(4),
            events: &[Unfollow, Pass(EPOCH, 5, false, false), Pass(EPOCH, 6, SENT, false)],
            after: Some(NotFollowing { since: 6 }) },
        Case { name: "a replay for a member that does not follow is over",
            before: Some(NotFollowing { since: 3 }), newest: Some(4), events: &[CatchUp(5, CaughtUp::Gone)],
            after: Some(NotFollowing { since: 3 }) },
        Case { name: "a replay for a member that has left is over",
            before: Some(CatchingUp { withheld: None }), newest: Some(4), events: &[Leave, CatchUp(5, CaughtUp::Gone)],
            after: None },
        Case { name: "the slower of two replays finds the member live",
            before: None, newest: Some(4),
            events: &[Follow(EPOCH, FollowResult::Withheld), Follow(EPOCH, FollowResult::Withheld), CatchUp(5, live(5)),
                Pass(EPOCH, 5, SENT, WITH_POSITION), CatchUp(5, live(6))],
            after: Some(Live { since: Some(5) }) },
        Case { name: "a replay that fails leaves a gap that the next one fills",
            before: None, newest: Some(4),
            events: &[Follow(EPOCH, FollowResult::Withheld), Pass(EPOCH, 5, false, false), Unfollow, Pass(EPOCH, 6, SENT, false),
                Follow(EPOCH, FollowResult::Since(6))],
            after: Some(Replaying { since: Some(6) }) },
        Case { name: "a replay that fails before any message passed leaves nothing known",
            before: None, newest: None, events: &[Follow(EPOCH, FollowResult::Withheld), Unfollow], after: None },
        Case { name: "the first message of a new log is sent to members and live followers, and tracked",
            before: Some(Live { since: Some(3) }), newest: Some(9), events: &[Pass(11, 0, SENT, WITH_POSITION)],
            after: Some(Live { since: Some(0) }) },
        Case { name: "a member of the old log is a member of the new one from its first message on",
            before: Some(NotFollowing { since: 3 }), newest: Some(9),
            events: &[Pass(11, 2, SENT, false), Pass(11, 3, SENT, false)], after: Some(NotFollowing { since: 2 }) },
        Case { name: "a replay of a new log of which nothing has passed starts anew",
            before: Some(Live { since: Some(3) }), newest: Some(9),
            events: &[Follow(11, FollowResult::Withheld), CatchUp(1, CaughtUp::Live(StreamPosition { epoch: 11, offset: 1 })), Pass(11, 0, false, false),
                Pass(11, 1, SENT, WITH_POSITION)],
            after: Some(Live { since: Some(1) }) },
        Case { name: "messages withheld of the old log do not count in the new one",
            before: Some(CatchingUp { withheld: Some(9) }), newest: Some(9),
            events: &[Follow(11, FollowResult::Withheld), CatchUp(0, CaughtUp::Live(StreamPosition { epoch: 11, offset: 0 }))], after: Some(Live { since: Some(0) }) },
        Case { name: "a live follower of the old log stays live when another member follows the new one",
            before: Some(Live { since: None }), newest: None, events: &[Pass(EPOCH, 0, SENT, WITH_POSITION), Unfollow], after: None },
    ];

    #[test]
    fn each_event_changes_a_members_progress_as_in_the_table() {
        for Case { name, before, newest, events, after } in CASES {
            let mut followers = Followers { epoch: Some(EPOCH), newest: *newest, ..Followers::default() };
            followers.members.extend(before.map(|progress| (1, progress)));
            for event in *events {
                match *event {
                    Join => followers.join(1),
                    Leave => followers.leave(1),
                    Follow(epoch, result) => {
                        assert_eq!(followers.follow(1, epoch), result, "{name}: {event:?}");
                    }
                    CatchUp(next, result) => {
                        assert_eq!(followers.catch_up(1, next), result, "{name}: {event:?}");
                    }
                    Unfollow => followers.unfollow(1),
                    Pass(epoch, offset, last_sent_at, with_position) => {
                        let mut receivers = vec![2, 1];
                        let position = StreamPosition { epoch, offset };
                        let positions = followers.pass(position, &[2, 1], &mut receivers);
                        let expected = if last_sent_at { vec![2, 1] } else { vec![2] };
                        assert_eq!(receivers, expected, "{name}: {event:?}");
                        assert_eq!(
                            positions,
                            if with_position { vec![1] } else { vec![] },
                            "{name}: {event:?}"
                        );
                    }
                }
            }
            assert_eq!(followers.members.get(&1), after.as_ref(), "{name}");
        }
    }

    thread_local! {
        /// How many members were hashed or compared.
        static STEPS: Cell<u64> = const { Cell::new(0) };
    }

    #[derive(Clone, Copy, Debug, Eq, PartialOrd, Ord)]
    struct Counted(u32);

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            STEPS.set(STEPS.get() + 1);
            self.0 == other.0
        }
    }

    impl Hash for Counted {
        fn hash<H: Hasher>(&self, state: &mut H) {
            STEPS.set(STEPS.get() + 1);
            self.0.hash(state);
        }
    }

    #[test]
    fn a_hundred_thousand_followers_leave_in_constant_time_and_release_memory() {
        let count = 100_000;
        let members: Vec<Counted> = (0..count).map(Counted).collect();
        let mut followers = Followers::default();
        for member in &members {
            assert_eq!(followers.follow(*member, EPOCH), FollowResult::Withheld);
            assert_eq!(followers.catch_up(*member, 0), live(0));
        }
        assert_eq!(
            followers.pass(StreamPosition { epoch: EPOCH, offset: 0 }, &members, &mut members.clone()),
            members
        );
        // Further messages do not examine each member.
        STEPS.set(0);
        let next = StreamPosition { epoch: EPOCH, offset: 1 };
        assert_eq!(followers.pass(next, &members, &mut members.clone()).len(), members.len());
        assert_eq!(STEPS.get(), 0);
        for (gone, member) in members.iter().enumerate() {
            followers.leave(*member);
            assert_eq!(followers.members.len(), members.len() - gone - 1);
        }
        // A lookup hashes once and compares about once; shrinking hashes the remaining members, less often than every second
        // time.
        assert!(STEPS.get() <= u64::from(count) * 4, "{} steps", STEPS.get());
        assert_eq!(followers.members.capacity(), 0);
    }
}
