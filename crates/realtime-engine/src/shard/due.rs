//! [`due`]: what to do about a connection at a given time. Pure: the shard describes the connection in a [`View`], performs the [`Verdict`],
//! and checks again at the time in the verdict.
//!
//! All times are ticks of the shard's clock. A deadline is never early, and late by at most one tick.

use supervision::is_mutated;

use super::deadlines::Tick;
use crate::EndReason;

/// The engine's timeouts and intervals in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For the handshake, and for a stateful client's first message on a new socket.
    pub(crate) handshake: u32,
    /// The interval of pings if no other message is sent.
    pub(crate) keep_alive: u32,
    /// The time after which a client that pings is closed if nothing is received from it.
    pub(crate) client_timeout: u32,
    /// For the client's response to a close.
    pub(crate) close: u32,
    /// For a stateful client without a socket.
    pub(crate) disconnect: u32,
    /// For a slow client to read something, after its app server was slowed down.
    pub(crate) own_stalled: u32,
    /// The longest delay of an acknowledgement.
    pub(crate) soon: u32,
}

/// The state of a connection, as far as its deadlines depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View {
    /// The client's handshake request is not complete.
    Handshaking {
        /// The deadline.
        deadline: Tick,
    },
    /// The handshake waits for the decision of an upstream or the response of an app server.
    Opening {
        /// The deadline.
        deadline: Tick,
    },
    /// The handshake is complete.
    Open(OpenView),
    /// A Close message or frame was sent.
    Closing {
        /// When it was sent.
        since: Tick,
        /// The engine's timeouts.
        timeouts: Timeouts,
    },
    /// A client does not read fast enough what its app server sends to it alone; checked in addition to its other deadlines.
    SlowReader {
        /// When it must have read something; `None` while it has no socket, which has its own deadline.
        deadline: Option<Tick>,
    },
    /// A stateful client has sent messages, or messages to it are withheld until its first message.
    Unacknowledged {
        /// Until when an acknowledgement may be delayed, and messages withheld.
        deadline: Tick,
    },
}

/// An open connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenView {
    /// Its transport.
    pub(crate) reached_by: ReachedBy,
    /// When its access token expires.
    pub(crate) token_expires: Option<Tick>,
    /// When the client must have sent a hub message other than a ping, if its hub requires that.
    pub(crate) idle_deadline: Option<Tick>,
    /// Since when a stateful client's new socket waits for the client's Sequence message.
    pub(crate) resuming_since: Option<Tick>,
    /// When something was last received.
    pub(crate) last_received_at: Tick,
    /// When a hub message was last written.
    pub(crate) last_sent_at: Tick,
    /// Whether the client has sent a ping; the client timeout applies only then.
    pub(crate) has_pinged: bool,
    /// Whether reading from it is paused; the client timeout does not apply then.
    pub(crate) is_paused: bool,
    /// A number of the connection that spreads pings: clients that connected together are not pinged together.
    pub(crate) spread: u32,
    /// The engine's timeouts.
    pub(crate) timeouts: Timeouts,
}

/// The transport of an open connection, as far as deadlines depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReachedBy {
    /// A WebSocket.
    Socket,
    /// Server-Sent Events.
    ServerSentEvents {
        /// When the next request for messages must have arrived; `None` while there is one.
        request_deadline: Option<Tick>,
    },
    /// Long polling; its polls show that the client is alive, so that it has no pings and no client timeout.
    LongPolling {
        /// As above.
        request_deadline: Option<Tick>,
    },
    /// None: its socket is lost.
    Nothing {
        /// When a new one must have been attached.
        deadline: Tick,
    },
}

/// What the shard does about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing before this tick.
    Wait(Tick),
    /// Send a ping, and check again at this tick.
    Ping(Tick),
    /// Send a ping to the app server on behalf of the client, which has no socket, and check again at this tick.
    PingServer(Tick),
    /// Refuse the connection, with the reason in a WebSocket close frame.
    Refuse(EndReason, &'static str),
    /// Close the connection, with the reason in a Close message.
    Close {
        /// For metrics and traces.
        reason: EndReason,
        /// For the client.
        error: &'static str,
        /// Whether the client may reconnect by itself.
        allow_reconnect: bool,
    },
    /// Drop the socket; a stateful client may reconnect with another.
    LoseSocket(EndReason),
    /// End the connection without a message, because the client cannot receive one.
    End(EndReason),
    /// Drop the connection, whose close has timed out.
    Remove,
    /// Close the connection of a slow reader.
    EndStalledReader,
    /// Acknowledge received messages, and send withheld ones.
    Acknowledge,
}

/// Decides what to do about a connection.
pub(crate) fn due(view: &View, now: Tick) -> Verdict {
    match view {
        View::Handshaking { deadline } => {
            let refused =
                Verdict::Refuse(EndReason::HandshakeTimeout, "no handshake request was received in time");
            at(*deadline, now, refused)
        }
        View::Opening { deadline } => {
            let refused =
                Verdict::Refuse(EndReason::HandshakeTimeout, "the handshake was not completed in time");
            at(*deadline, now, refused)
        }
        View::Open(open) => open.due(now),
        View::Closing { since, timeouts } => at(since.plus(timeouts.close), now, Verdict::Remove),
        View::SlowReader { deadline } => match deadline {
            Some(deadline) => at(*deadline, now, Verdict::EndStalledReader),
            None => Verdict::Wait(now.plus(1)),
        },
        View::Unacknowledged { deadline } => at(*deadline, now, Verdict::Acknowledge),
    }
}

/// The verdict from a tick on; before it, wait.
fn at(deadline: Tick, now: Tick, verdict: Verdict) -> Verdict {
    if now < deadline { Verdict::Wait(deadline) } else { verdict }
}

/// The verdict after a tick; until then, wait.
fn after(deadline: Tick, now: Tick, verdict: Verdict) -> Verdict {
    at(deadline.plus(1), now, verdict)
}

impl OpenView {
    fn due(&self, now: Tick) -> Verdict {
        let mut next = self.next_check(now);
        let deadlines = [
            self.token_deadline(now),
            self.idle_deadline(now),
            self.socket_deadline(now),
            self.resume_deadline(now),
            self.request_deadline(now),
        ];
        for verdict in deadlines.into_iter().flatten() {
            match verdict {
                Verdict::Wait(until) => next = next.min(until),
                Verdict::PingServer(until) => return Verdict::PingServer(next.min(until)),
                overdue => return overdue,
            }
        }
        match self.reached_by {
            ReachedBy::LongPolling { .. } => {
                Verdict::Wait(next.min(now.plus(self.timeouts.disconnect.max(1))))
            }
            _ => self.keep_alive(now, next),
        }
    }

    /// A connection is checked at least once per ping interval, because its state may have changed.
    fn next_check(&self, now: Tick) -> Tick {
        now.plus(self.timeouts.keep_alive.max(1))
    }

    fn token_deadline(&self, now: Tick) -> Option<Verdict> {
        let expired = Verdict::Close {
            reason: EndReason::TokenExpired,
            error: "the access token has expired",
            allow_reconnect: true,
        };
        self.token_expires.map(|deadline| at(deadline, now, expired))
    }

    fn idle_deadline(&self, now: Tick) -> Option<Verdict> {
        let idle = Verdict::Close {
            reason: EndReason::IdleTimeout,
            error: "the client sent no message for longer than this hub allows",
            allow_reconnect: false,
        };
        self.idle_deadline.map(|deadline| after(deadline, now, idle))
    }

    fn socket_deadline(&self, now: Tick) -> Option<Verdict> {
        let ReachedBy::Nothing { deadline } = self.reached_by else { return None };
        Some(match at(deadline, now, Verdict::End(EndReason::ConnectionLost)) {
            // The app server expects the client's pings.
            Verdict::Wait(until) => Verdict::PingServer(until),
            lost => lost,
        })
    }

    /// The deadline for the Sequence message on a new socket.
    fn resume_deadline(&self, now: Tick) -> Option<Verdict> {
        let deadline = self.resuming_since?.plus(self.timeouts.handshake);
        Some(after(deadline, now, Verdict::End(EndReason::ConnectionLost)))
    }

    /// The deadline for the next request for messages of an HTTP client.
    fn request_deadline(&self, now: Tick) -> Option<Verdict> {
        let deadline = match self.reached_by {
            ReachedBy::ServerSentEvents { request_deadline }
            | ReachedBy::LongPolling { request_deadline } => request_deadline?,
            ReachedBy::Socket | ReachedBy::Nothing { .. } => return None,
        };
        // Before it, the connection is checked as often as any other.
        (now >= deadline).then_some(Verdict::End(EndReason::ConnectionLost))
    }

    /// Applies the client timeout, and pings the client if nothing else is sent.
    fn keep_alive(&self, now: Tick, mut next: Tick) -> Verdict {
        if self.has_pinged && !self.is_paused && !is_mutated("silent-client-stays") {
            let silence = self.last_received_at.plus(self.timeouts.client_timeout);
            match after(silence, now, Verdict::LoseSocket(EndReason::ClientTimeout)) {
                Verdict::Wait(until) => next = next.min(until),
                overdue => return overdue,
            }
        }
        // Spread over an eighth of the interval.
        let interval = self.timeouts.keep_alive - self.spread % (self.timeouts.keep_alive / 8 + 1);
        let ping_at = self.last_sent_at.plus(interval);
        if now >= ping_at {
            return Verdict::Ping(next.min(now.plus(interval)));
        }
        Verdict::Wait(next.min(ping_at))
    }
}

#[cfg(test)]
mod tests;
