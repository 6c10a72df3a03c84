//! What clients must have received: a model of messages, members and positions, in plain maps. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

/// Names a message.
pub(super) type MessageId = u64;
/// Identifies one connection, from its handshake to its end.
pub(super) type ConnectionNumber = u64;

/// Who receives a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Receivers {
    All,
    User(usize),
    Group(String),
    Connection(ConnectionNumber),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Pending,
    Acknowledged,
    /// The sender's request was rejected: the message has no receiver.
    Refused,
    /// The sender's process has ended, or the response was not definite.
    Unknown,
}

#[derive(Debug)]
struct Sent {
    sender: usize,
    to: Receivers,
    outcome: Outcome,
    /// Open connections that were in the audience when it was sent, and still are.
    receivers: BTreeSet<ConnectionNumber>,
}

#[derive(Debug)]
struct Connection {
    user: usize,
    groups: BTreeSet<String>,
    /// Groups that it ever joined, or asked to join.
    may_hear: BTreeSet<String>,
    /// Groups whose missed messages may come after newer ones: it was a member before it followed.
    out_of_order: BTreeSet<String>,
    /// Groups that it has left: what it received before is no longer known, and comes again if it follows from an earlier position.
    may_repeat: BTreeSet<String>,
    received: BTreeSet<MessageId>,
    last: BTreeMap<(usize, Receivers), MessageId>,
}

/// All messages and connections.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    sent: BTreeMap<MessageId, Sent>,
    open: BTreeMap<ConnectionNumber, Connection>,
    /// The position of each message in the log of the group with history: epoch and offset.
    places: BTreeMap<(String, u64), MessageId>,
    /// Groups of users.
    user_groups: BTreeSet<(usize, String)>,
    /// Groups that users ever joined, or may have joined.
    ever_in: BTreeSet<(usize, String)>,
    /// Groups of users that are uncertain: a change failed, or its process ended.
    unsure: BTreeSet<(usize, String)>,
}

impl Deliveries {
    pub(super) fn opened(&mut self, number: ConnectionNumber, user: usize) {
        let of_user = |groups: &BTreeSet<(usize, String)>| -> BTreeSet<String> {
            groups.iter().filter(|(other, _)| *other == user).map(|(_, group)| group.clone()).collect()
        };
        let groups = of_user(&self.user_groups);
        // The service may have opened it some time ago.
        let may_hear = of_user(&self.ever_in);
        let connection = Connection {
            user,
            groups,
            may_hear,
            out_of_order: BTreeSet::new(),
            may_repeat: BTreeSet::new(),
            received: BTreeSet::new(),
            last: BTreeMap::new(),
        };
        self.open.insert(number, connection);
    }

    /// A connection has ended: it need not receive any further message.
    pub(super) fn ended(&mut self, number: ConnectionNumber) {
        self.open.remove(&number);
        for sent in self.sent.values_mut() {
            sent.receivers.remove(&number);
        }
    }

    pub(super) fn joining(&mut self, number: ConnectionNumber, group: &str) {
        if let Some(connection) = self.open.get_mut(&number) {
            connection.may_hear.insert(group.to_owned());
        }
    }

    pub(super) fn joined(&mut self, number: ConnectionNumber, group: &str) {
        if let Some(connection) = self.open.get_mut(&number) {
            connection.groups.insert(group.to_owned());
        }
    }

    /// A connection asks to follow a group.
    pub(super) fn following(&mut self, number: ConnectionNumber, group: &str) {
        if let Some(connection) = self.open.get_mut(&number)
            && !connection.may_hear.insert(group.to_owned())
        {
            connection.out_of_order.insert(group.to_owned());
        }
    }

    /// Whether a connection was, or may have been, a member of a group before it followed the group.
    pub(super) fn was_member(&self, number: ConnectionNumber, group: &str) -> bool {
        self.open.get(&number).is_some_and(|connection| connection.out_of_order.contains(group))
    }

    /// A user is about to join or leave a group: until that is known to be complete, the membership is uncertain.
    pub(super) fn user_changes(&mut self, user: usize, group: &str, joins: bool) {
        self.unsure.insert((user, group.to_owned()));
        self.ever_in.insert((user, group.to_owned()));
        self.user_groups.remove(&(user, group.to_owned()));
        for number in self.connections_of(user) {
            if joins {
                self.joining(number, group);
            }
            // Also for a join: if it fails, the last completed step is unknown.
            self.leaving(number, group);
        }
    }

    /// A user has joined or left a group.
    pub(super) fn user_changed(&mut self, user: usize, group: &str, joined: bool) {
        self.unsure.remove(&(user, group.to_owned()));
        if joined {
            self.user_groups.insert((user, group.to_owned()));
            for number in self.connections_of(user) {
                self.joined(number, group);
            }
        }
    }

    /// The open connections of a user.
    pub(super) fn connections_of(&self, user: usize) -> BTreeSet<ConnectionNumber> {
        let of_user = self.open.iter().filter(|(_, connection)| connection.user == user);
        of_user.map(|(number, _)| *number).collect()
    }

    /// The members of a group; `None` if a failed change left them uncertain.
    pub(super) fn members(&self, group: &str) -> Option<BTreeSet<ConnectionNumber>> {
        let is_unsure = self.unsure.iter().any(|(_, other)| other == group);
        let members = self.open.iter().filter(|(_, connection)| connection.groups.contains(group));
        (!is_unsure).then(|| members.map(|(number, _)| *number).collect())
    }

    /// A connection is about to leave a group.
    pub(super) fn leaving(&mut self, number: ConnectionNumber, group: &str) {
        if let Some(connection) = self.open.get_mut(&number) {
            connection.groups.remove(group);
            connection.may_repeat.insert(group.to_owned());
        }
        for sent in self.sent.values_mut().filter(|sent| sent.to == Receivers::Group(group.to_owned())) {
            if sent.outcome == Outcome::Pending {
                sent.receivers.remove(&number);
            }
        }
    }

    /// A message is being sent.
    pub(super) fn sending(&mut self, id: MessageId, sender: usize, to: Receivers) {
        let is_receiver = |(number, connection): &(&ConnectionNumber, &Connection)| match &to {
            Receivers::All => true,
            Receivers::User(user) => connection.user == *user,
            Receivers::Group(group) => connection.groups.contains(group),
            Receivers::Connection(one) => *number == one,
        };
        let receivers = self.open.iter().filter(is_receiver).map(|(number, _)| *number).collect();
        self.sent.insert(id, Sent { sender, to, outcome: Outcome::Pending, receivers });
    }

    pub(super) fn is_to_group(&self, id: MessageId, group: &str) -> bool {
        self.sent.get(&id).is_some_and(|sent| sent.to == Receivers::Group(group.to_owned()))
    }

    pub(super) fn acknowledged(&mut self, id: MessageId) {
        self.set(id, Outcome::Acknowledged);
    }

    pub(super) fn unknown(&mut self, id: MessageId) {
        self.set(id, Outcome::Unknown);
    }

    /// A sender got the response that its message has no receiver.
    pub(super) fn refused(&mut self, id: MessageId) -> Result<()> {
        let receiver = self.open.iter().find(|(_, connection)| connection.received.contains(&id));
        if let Some((number, _)) = receiver {
            bail!("connection {number} received message {id}, which was refused");
        }
        self.set(id, Outcome::Refused);
        Ok(())
    }

    fn set(&mut self, id: MessageId, outcome: Outcome) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.outcome = outcome;
        }
    }

    /// A connection received a message for the first time, by its sequence numbers.
    pub(super) fn received(&mut self, number: ConnectionNumber, id: MessageId) -> Result<()> {
        let Some(sent) = self.sent.get(&id) else { bail!("message {id} was never sent") };
        ensure!(sent.outcome != Outcome::Refused, "message {id} was refused, and is received");
        let Some(connection) = self.open.get_mut(&number) else { return Ok(()) };
        let is_addressed = match &sent.to {
            Receivers::All => true,
            Receivers::User(user) => connection.user == *user,
            Receivers::Group(group) => connection.may_hear.contains(group),
            Receivers::Connection(one) => number == *one,
        };
        ensure!(is_addressed, "connection {number} received message {id}, which went to {:?}", sent.to);
        let may_repeat = matches!(&sent.to, Receivers::Group(group) if connection.may_repeat.contains(group));
        ensure!(
            connection.received.insert(id) || may_repeat,
            "connection {number} received message {id} twice"
        );
        let last = connection.last.insert((sent.sender, sent.to.clone()), id);
        let may_jump = may_repeat
            || matches!(&sent.to, Receivers::Group(group) if connection.out_of_order.contains(group));
        ensure!(
            may_jump || last.is_none_or(|last| last < id),
            "connection {number} received message {id} of sender {} behind message {last:?}",
            sent.sender
        );
        Ok(())
    }

    /// A follower received the position after a message of the group with history.
    pub(super) fn placed(&mut self, id: MessageId, epoch: &str, offset: u64) -> Result<()> {
        let before = self.places.insert((epoch.to_owned(), offset), id);
        ensure!(
            before.is_none_or(|before| before == id),
            "position {epoch}-{offset} held message {before:?} and holds {id} now"
        );
        Ok(())
    }

    /// All that a connection received.
    pub(super) fn received_by(&self, number: ConnectionNumber) -> Vec<MessageId> {
        self.open.get(&number).map(|one| one.received.iter().copied().collect()).unwrap_or_default()
    }

    /// No work is left: every message that must arrive has arrived.
    pub(super) fn check_received(&self) -> Result<()> {
        for (id, sent) in self.sent.iter().filter(|(_, sent)| sent.outcome == Outcome::Acknowledged) {
            for number in &sent.receivers {
                let has_it = self.open.get(number).is_some_and(|one| one.received.contains(id));
                ensure!(has_it, "connection {number} never received message {id} to {:?}", sent.to);
            }
        }
        Ok(())
    }

    /// A reader has read the whole log of a group: each acknowledged message is in it.
    pub(super) fn check_log(&self, group: &str, log: &[MessageId]) -> Result<()> {
        let to = Receivers::Group(group.to_owned());
        for (id, sent) in self.sent.iter().filter(|(_, sent)| sent.to == to) {
            let is_missing = sent.outcome == Outcome::Acknowledged && !log.contains(id);
            ensure!(!is_missing, "message {id} was acknowledged, and is not in the log of {group}");
        }
        Ok(())
    }
}
