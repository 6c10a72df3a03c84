//! How connections are looked after, and how they end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use signalr_protocol::{HubMessage, HubProtocol};
use websocket::{CloseCode, close_frame};

use super::Shard;
use super::connection::{Connection, Opening, Road, Slot, Stage};
use super::deadlines::{Due, Tick};
use super::encode::{close_message, hub_frame};
use super::pending::{Frame, Step};
use crate::engine::{Admission, ClientConnection, EndReason, Hub, SightEvent};
use crate::metrics::EndLabels;

impl Shard {
    pub(super) fn look_at_deadlines(&mut self, now: Instant) {
        let mut due = Vec::new();
        self.deadlines.advance(self.now, &mut due);
        for due in due {
            let same = |connection: &Connection| connection.generation == due.generation;
            if self.connections.get(due.slot as usize).is_some_and(same)
                && let Some(next) = self.look_at(due.slot, now)
            {
                self.deadlines.add(next, due);
            }
        }
        self.look_at_stateful();
        self.look_at_slowed(now);
        self.index.expire(&mut self.connections, self.now);
        self.shrink_tables();
    }

    /// Does what is due for one connection; says when to look again.
    fn look_at(&mut self, slot: Slot, now: Instant) -> Option<Tick> {
        let connection = &self.connections[slot as usize];
        match &connection.stage {
            Stage::Handshaking(handshaking) => {
                let deadline = handshaking.deadline;
                if self.now < deadline {
                    return Some(deadline);
                }
                let why = "no handshake came in time";
                self.say_goodbye(slot, EndReason::HandshakeTimeout, None, CloseCode::POLICY_VIOLATION, why);
            }
            Stage::Opening(opening) => {
                let deadline = opening.deadline;
                if self.now < deadline {
                    return Some(deadline);
                }
                let why = "nobody answered the handshake in time";
                self.say_goodbye(slot, EndReason::HandshakeTimeout, None, CloseCode::POLICY_VIOLATION, why);
            }
            Stage::Closing { .. } => {
                let deadline = connection.heard.plus(self.times.close);
                if self.now < deadline {
                    return Some(deadline);
                }
                self.remove(slot);
                return None;
            }
            Stage::Open(_) => {
                if let Some(next) = self.look_at_open(slot, now) {
                    return Some(next);
                }
            }
        }
        // A close has begun; its own deadline counts from now.
        self.connections.contains(slot as usize).then(|| self.now.plus(self.times.close))
    }

    /// Looks at a connection that receives; says when again, unless it has ended.
    fn look_at_open(&mut self, slot: Slot, now: Instant) -> Option<Tick> {
        let times = self.times;
        let connection = &self.connections[slot as usize];
        if let Some(expires) = connection.expires()
            && expires <= self.now
        {
            let why = "the access token has expired";
            self.close(slot, EndReason::TokenExpired, Some(why), true);
            return None;
        }
        let far = self.now.plus(times.keep_alive.max(1));
        let mut next = connection.expires().unwrap_or(far).min(far);
        if let Some(idle) = self.idle_ticks(connection) {
            let until = connection.extra().map_or(self.now, |extra| extra.spoke).plus(idle);
            if self.now > until {
                let why = "the client said nothing for longer than this hub allows";
                self.close(slot, EndReason::IdleTimeout, Some(why), false);
                return None;
            }
            next = next.min(until.plus(1));
        }
        if let Road::Detached { until } = connection.road {
            if self.now >= until {
                self.end(slot, EndReason::ConnectionLost);
                return None;
            }
            self.speak_for(slot, false);
            return Some(next.min(until));
        }
        // A client may have opened the new socket and forgotten it.
        let waits_since = connection.extra().and_then(|extra| extra.stateful.as_ref()?.waits_since());
        if let Some(until) = waits_since.map(|since| since.plus(times.handshake)) {
            if self.now > until {
                self.end(slot, EndReason::ConnectionLost);
                return None;
            }
            next = next.min(until.plus(1));
        }
        if self.is_abandoned(connection, now) {
            self.end(slot, EndReason::ConnectionLost);
            return None;
        }
        if connection.is_kept_alive_by_transport() {
            return Some(next.min(self.now.plus(times.disconnect.max(1))));
        }
        let silent_until = connection.heard.plus(times.client_timeout);
        let is_missed = connection.pings && !connection.is_paused;
        if self.now > silent_until && is_missed {
            self.lose_client(slot, EndReason::ClientTimeout);
            return self.connections.contains(slot as usize).then(|| self.now.plus(times.disconnect));
        }
        // Spread over an eighth of the interval, so that clients that came together do not get their pings together.
        let jitter = connection.generation % (times.keep_alive / 8 + 1);
        let mut ping_at = connection.sent.plus(times.keep_alive - jitter);
        if self.now >= ping_at {
            ping_at = self.now.plus(times.keep_alive - jitter);
            let ping = hub_frame(&HubMessage::Ping, connection.protocol);
            self.append_or_end(slot, &mut Step::new(ping));
            if !self.connections.contains(slot as usize) {
                return None;
            }
        }
        Some(next.min(ping_at).min(if is_missed { silent_until.plus(1) } else { far }))
    }

    fn idle_ticks(&self, connection: &Connection) -> Option<u32> {
        let idle_ms = self.index.policy(connection.places()?.hub).idle_timeout_ms?;
        Some(self.deadlines.ticks(Duration::from_millis(idle_ms.get())))
    }

    /// Whether no request of an HTTP client has asked for messages for too long.
    fn is_abandoned(&self, connection: &Connection, now: Instant) -> bool {
        let Road::Outlet(outlet) = &connection.road else { return false };
        let patience = Duration::from_millis(self.settings.options.disconnect_timeout_ms);
        outlet.idle_since().is_some_and(|since| now.saturating_duration_since(since) > patience)
    }

    /// Who a connection is, in the words of the upstream; `None` unless it is open.
    pub(super) fn client(&self, slot: Slot) -> Option<ClientConnection> {
        let connection = self.connections.get(slot as usize)?;
        let places = connection.places()?;
        Some(ClientConnection {
            id: connection.id,
            hub: self.index.hub(places.hub).clone(),
            user: places.user.map(|(user, _)| self.index.user(user).clone()),
            protocol: connection.protocol,
            facts: connection.rare.as_ref().and_then(|rare| rare.facts.clone()),
        })
    }

    /// Closes a connection that speaks the hub protocol, with the reason in the Close message.
    pub(super) fn close(
        &mut self,
        slot: Slot,
        reason: EndReason,
        error: Option<&str>,
        allow_reconnect: bool,
    ) {
        // What led here may have ended the connection already.
        let Some(connection) = self.connections.get(slot as usize) else { return };
        let message = hub_frame(&close_message(error, allow_reconnect), connection.protocol);
        self.leave(slot, reason, Some(message), CloseCode::NORMAL, "", error);
    }

    /// Begins an orderly close: a last hub message, a close frame, and time for the client to answer. From here on the
    /// connection receives nothing that is published.
    pub(super) fn say_goodbye(
        &mut self,
        slot: Slot,
        reason: EndReason,
        last: Option<Frame>,
        code: CloseCode,
        text: &str,
    ) {
        let error = (!text.is_empty()).then_some(text);
        self.leave(slot, reason, last, code, text, error);
    }

    fn leave(
        &mut self,
        slot: Slot,
        reason: EndReason,
        last: Option<Frame>,
        code: CloseCode,
        text: &str,
        error: Option<&str>,
    ) {
        if self.connections.get(slot as usize).is_none_or(Connection::is_closing) {
            return;
        }
        // What its app server said before must come before the goodbye.
        self.release_held(slot);
        if self.connections.get(slot as usize).is_none_or(Connection::is_closing) {
            return;
        }
        self.leave_index(slot, reason, error);
        if matches!(self.connections[slot as usize].road, Road::Detached { .. }) {
            return self.remove(slot);
        }
        for frame in last.into_iter().chain([Frame::control(close_frame(code, text))]) {
            if self.connections.contains(slot as usize) {
                self.append_or_end(slot, &mut Step::new(frame));
            }
        }
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.heard = self.now;
            // Its entry among the deadlines may be for later than the close is.
            let due = Due { slot, generation: connection.generation };
            self.deadlines.add(self.now.plus(self.times.close).plus(1), due);
        }
    }

    /// Ends a connection at once.
    pub(super) fn end(&mut self, slot: Slot, reason: EndReason) {
        if self.connections.get(slot as usize).is_some_and(|connection| !connection.is_closing()) {
            self.leave_index(slot, reason, None);
        }
        self.remove(slot);
    }

    /// The one place where a connection stops being one of the hub's: takes it out, counts why, tells the upstream.
    fn leave_index(&mut self, slot: Slot, reason: EndReason, error: Option<&str>) {
        let (client, hub) = self.known_as(slot);
        let (mut server, guard) = match &mut self.connections[slot as usize].stage {
            Stage::Opening(opening) => (opening.admission.server.clone(), opening.admission.guard.take()),
            Stage::Handshaking(handshaking) => (None, handshaking.admission.guard.take()),
            Stage::Open(_) | Stage::Closing { .. } => (None, None),
        };
        let was_open = self.connections[slot as usize].places().is_some();
        self.index.close(&mut self.connections, slot);
        let connection = &mut self.connections[slot as usize];
        connection.stage = Stage::Closing { shut: false };
        connection.is_stateful = false;
        let id = connection.id;
        // From now on the client's secret leads nowhere, so that it begins anew; but one that sends requests takes its last messages.
        let keeps_secret = matches!(connection.road, Road::Outlet(_));
        if guard.is_some() {
            connection.extra_or_new().guard = guard;
        }
        let mut hears = true;
        if let Some(extra) = connection.extra_mut() {
            if !keeps_secret {
                extra.guard = None;
            }
            // Whoever waits for a result learns that none will come.
            extra.calls.clear();
            extra.held.clear();
            hears = !extra.is_given_up;
            server = server.or(extra.server.take());
        }
        self.settings.metrics.ends.get_or_create(&EndLabels { reason }).inc();
        if let Some(hub) = hub {
            self.settings.hub_counts.release(&hub);
        }
        let Some(client) = client else { return };
        if was_open {
            let event = || SightEvent::Ended { reason, error: error.map(Into::into) };
            self.show(&client, event);
        }
        match server {
            _ if !hears => {}
            Some(server) => server.closed(id, error),
            None => self.settings.upstream.disconnected(&client, reason, error),
        }
    }

    /// Who a connection is to those who heard of it, and whose hub it is counted in.
    fn known_as(&self, slot: Slot) -> (Option<ClientConnection>, Option<Hub>) {
        let connection = &self.connections[slot as usize];
        match &connection.stage {
            Stage::Handshaking(handshaking) => (None, Some(handshaking.admission.hub.clone())),
            Stage::Opening(opening) => {
                let Opening { admission, .. } = &**opening;
                (Some(client_of(admission, connection.protocol)), Some(admission.hub.clone()))
            }
            Stage::Open(_) => {
                let client = self.client(slot);
                let hub = client.as_ref().map(|client| client.hub.clone());
                (client, hub)
            }
            Stage::Closing { .. } => (None, None),
        }
    }

    /// Lets go of a connection that is closing. Dropping the socket takes it out of the poll.
    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(connection) = self.connections.try_remove(slot as usize) {
            Self::forget_pending(&mut self.pending_bytes, &connection);
            let stateful = connection.extra().and_then(|extra| extra.stateful.as_ref());
            self.kept_own_bytes -= stateful.map_or(0, |stateful| stateful.own_bytes() as u64);
            self.index.forget(connection.id);
            self.settings.connections.fetch_sub(1, Ordering::AcqRel);
            if let Road::Outlet(outlet) = &connection.road {
                outlet.end();
            }
        }
    }

    pub(super) fn cut_all(&mut self) {
        let slots: Vec<Slot> = self.connections.iter().map(|(slot, _)| slot as Slot).collect();
        for slot in slots {
            self.end(slot, EndReason::Drained);
        }
    }
}

/// Who somebody is that has not been let in yet.
pub(super) fn client_of(admission: &Admission, protocol: HubProtocol) -> ClientConnection {
    ClientConnection {
        id: admission.connection,
        hub: admission.hub.clone(),
        user: admission.user.clone(),
        protocol,
        facts: admission.facts.clone(),
    }
}
