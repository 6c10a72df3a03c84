//! [`due`]: what is to be done about a connection at a given time. Pure: the shard describes the connection in a [`View`],
//! performs the [`Verdict`], and looks again when that says so.
//!
//! All times are ticks of the shard's clock. A deadline is never early, and late by at most one tick.

use super::deadlines::Tick;
use crate::EndReason;

/// The engine's timeouts and intervals in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For the handshake, and for a stateful client's first message on a new socket.
    pub(crate) handshake: u32,
    /// The interval of pings where nothing else is sent.
    pub(crate) keep_alive: u32,
    /// After which a client that pings is given up if nothing comes from it.
    pub(crate) client_timeout: u32,
    /// For the client's answer to a close.
    pub(crate) close: u32,
    /// For a stateful client without a socket.
    pub(crate) disconnect: u32,
    /// For a slow client to read something, after its app server was slowed down.
    pub(crate) own_stalled: u32,
    /// By which an acknowledgement may be delayed.
    pub(crate) soon: u32,
}

/// What is looked at, as far as its deadlines depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View {
    /// The client's handshake has not come yet, or not all of it.
    Handshaking {
        /// When it must have come.
        deadline: Tick,
    },
    /// The handshake waits for the answer of an upstream or an app server.
    Opening {
        /// When it must have come.
        deadline: Tick,
    },
    /// The handshake is done.
    Open(OpenView),
    /// A Close message or frame was sent.
    Closing {
        /// When it was.
        since: Tick,
        /// The engine's timeouts.
        timeouts: Timeouts,
    },
    /// A client does not read fast enough what its app server sends to it alone; looked at beside its other deadlines.
    SlowReader {
        /// When it must have read something; absent while it has no socket, which has a deadline of its own.
        deadline: Option<Tick>,
    },
    /// A stateful client sent messages, or has been sent nothing because it has said nothing.
    Unacknowledged {
        /// Until when an acknowledgement may wait for more messages, and messages for the client's first word.
        deadline: Tick,
    },
}

/// A connection that receives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenView {
    /// How it is reached.
    pub(crate) reached_by: ReachedBy,
    /// When its access token expires.
    pub(crate) token_expires: Option<Tick>,
    /// When the client must have sent a hub message other than a ping, where its hub demands that.
    pub(crate) idle_deadline: Option<Tick>,
    /// Since when a stateful client's new socket is there, until the client has said with which message it continues.
    pub(crate) resuming_since: Option<Tick>,
    /// When something last came.
    pub(crate) heard: Tick,
    /// When a hub message was last written.
    pub(crate) sent: Tick,
    /// Whether the client has sent a ping, so that silence means something.
    pub(crate) pings: bool,
    /// Whether it is not read from, so that silence means nothing.
    pub(crate) is_paused: bool,
    /// A number of the connection that spreads pings: clients that came together do not get their pings together.
    pub(crate) spread: u32,
    /// The engine's timeouts.
    pub(crate) timeouts: Timeouts,
}

/// How an open connection is reached, as far as deadlines depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReachedBy {
    /// A WebSocket.
    Socket,
    /// Server-Sent Events.
    ServerSentEvents {
        /// When a request for messages must have come; absent while there is one.
        request_deadline: Option<Tick>,
    },
    /// Long polling, which shows by itself that the client is there: it is neither pinged nor missed.
    LongPolling {
        /// As above.
        request_deadline: Option<Tick>,
    },
    /// Nothing: its socket is lost.
    Nothing {
        /// When a new one must have come.
        deadline: Tick,
    },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing before this tick.
    Wait(Tick),
    /// Send a ping, and look again then.
    Ping(Tick),
    /// Send a ping to the app server in the place of the client, which has no socket, and look again then.
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
    /// Give up the socket; a stateful client may come back with another.
    LoseSocket(EndReason),
    /// End the connection without a word: nobody would hear it.
    End(EndReason),
    /// Drop the connection; its close has begun before.
    Remove,
    /// Close the connection of a slow reader.
    GiveUp,
    /// Acknowledge what came, and send what waits for the client's first word.
    Acknowledge,
}

/// What is to be done about a connection.
pub(crate) fn due(view: &View, now: Tick) -> Verdict {
    match view {
        View::Handshaking { deadline } => {
            let refused = Verdict::Refuse(EndReason::HandshakeTimeout, "no handshake came in time");
            at(*deadline, now, refused)
        }
        View::Opening { deadline } => {
            let refused =
                Verdict::Refuse(EndReason::HandshakeTimeout, "nobody answered the handshake in time");
            at(*deadline, now, refused)
        }
        View::Open(open) => open.due(now),
        View::Closing { since, timeouts } => at(since.plus(timeouts.close), now, Verdict::Remove),
        View::SlowReader { deadline } => match deadline {
            Some(deadline) => at(*deadline, now, Verdict::GiveUp),
            None => Verdict::Wait(now.plus(1)),
        },
        View::Unacknowledged { deadline } => at(*deadline, now, Verdict::Acknowledge),
    }
}

/// The verdict from a tick on.
fn at(deadline: Tick, now: Tick, verdict: Verdict) -> Verdict {
    if now < deadline { Verdict::Wait(deadline) } else { verdict }
}

/// The verdict once a tick is over.
fn after(deadline: Tick, now: Tick, verdict: Verdict) -> Verdict {
    at(deadline.plus(1), now, verdict)
}

impl OpenView {
    fn due(&self, now: Tick) -> Verdict {
        let mut next = self.next_look(now);
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

    /// At the latest, a connection is looked at after one interval of pings: what it depends on may have changed meanwhile.
    fn next_look(&self, now: Tick) -> Tick {
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
            error: "the client said nothing for longer than this hub allows",
            allow_reconnect: false,
        };
        self.idle_deadline.map(|deadline| after(deadline, now, idle))
    }

    fn socket_deadline(&self, now: Tick) -> Option<Verdict> {
        let ReachedBy::Nothing { deadline } = self.reached_by else { return None };
        Some(match at(deadline, now, Verdict::End(EndReason::ConnectionLost)) {
            // The app server would miss the client's pings.
            Verdict::Wait(until) => Verdict::PingServer(until),
            lost => lost,
        })
    }

    /// A client may have opened a new socket and forgotten it.
    fn resume_deadline(&self, now: Tick) -> Option<Verdict> {
        let deadline = self.resuming_since?.plus(self.timeouts.handshake);
        Some(after(deadline, now, Verdict::End(EndReason::ConnectionLost)))
    }

    /// No request of an HTTP client has asked for messages for too long.
    fn request_deadline(&self, now: Tick) -> Option<Verdict> {
        let deadline = match self.reached_by {
            ReachedBy::ServerSentEvents { request_deadline }
            | ReachedBy::LongPolling { request_deadline } => request_deadline?,
            ReachedBy::Socket | ReachedBy::Nothing { .. } => return None,
        };
        // Until then it is looked at as often as any other.
        (now >= deadline).then_some(Verdict::End(EndReason::ConnectionLost))
    }

    /// The client is missed if it is silent for too long, and pinged where nothing else is sent.
    fn keep_alive(&self, now: Tick, mut next: Tick) -> Verdict {
        if self.pings && !self.is_paused {
            let silence = self.heard.plus(self.timeouts.client_timeout);
            match after(silence, now, Verdict::LoseSocket(EndReason::ClientTimeout)) {
                Verdict::Wait(until) => next = next.min(until),
                overdue => return overdue,
            }
        }
        // Spread over an eighth of the interval.
        let interval = self.timeouts.keep_alive - self.spread % (self.timeouts.keep_alive / 8 + 1);
        let ping_at = self.sent.plus(interval);
        if now >= ping_at {
            return Verdict::Ping(next.min(now.plus(interval)));
        }
        Verdict::Wait(next.min(ping_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Acknowledge, Close, End, GiveUp, LoseSocket, Ping, PingServer, Refuse, Remove, Wait};

    const TIMEOUTS: Timeouts = Timeouts {
        handshake: 20,
        keep_alive: 16,
        client_timeout: 30,
        close: 5,
        disconnect: 12,
        own_stalled: 40,
        soon: 1,
    };

    /// A WebSocket whose client pings; all of it happened at tick 100.
    const OPEN: OpenView = OpenView {
        reached_by: ReachedBy::Socket,
        token_expires: None,
        idle_deadline: None,
        resuming_since: None,
        heard: Tick(100),
        sent: Tick(100),
        pings: true,
        is_paused: false,
        spread: 0,
        timeouts: TIMEOUTS,
    };
    const WITHOUT_SOCKET: OpenView =
        OpenView { reached_by: ReachedBy::Nothing { deadline: Tick(113) }, ..OPEN };
    const TOKEN_EXPIRED: Verdict = Close {
        reason: EndReason::TokenExpired,
        error: "the access token has expired",
        allow_reconnect: true,
    };
    const IDLE: Verdict = Close {
        reason: EndReason::IdleTimeout,
        error: "the client said nothing for longer than this hub allows",
        allow_reconnect: false,
    };
    const NO_HANDSHAKE: Verdict = Refuse(EndReason::HandshakeTimeout, "no handshake came in time");
    const NO_ANSWER: Verdict = Refuse(EndReason::HandshakeTimeout, "nobody answered the handshake in time");
    const LOST: Verdict = End(EndReason::ConnectionLost);
    const SILENT: Verdict = LoseSocket(EndReason::ClientTimeout);

    fn long_polling(request_deadline: Option<Tick>) -> OpenView {
        OpenView { reached_by: ReachedBy::LongPolling { request_deadline }, ..OPEN }
    }

    fn events(request_deadline: Option<Tick>) -> OpenView {
        OpenView { reached_by: ReachedBy::ServerSentEvents { request_deadline }, ..OPEN }
    }

    /// Name, what is looked at, when, and what is to be done.
    type Case = (&'static str, View, u32, Verdict);

    #[rustfmt::skip]
    fn cases_of_begin_and_end() -> Vec<Case> {
        let handshaking = View::Handshaking { deadline: Tick(120) };
        let opening = View::Opening { deadline: Tick(120) };
        let closing = View::Closing { since: Tick(100), timeouts: TIMEOUTS };
        vec![
            ("handshake: there is time", handshaking, 119, Wait(Tick(120))),
            ("handshake: too late", handshaking, 120, NO_HANDSHAKE),
            ("answer to the handshake: there is time", opening, 100, Wait(Tick(120))),
            ("answer to the handshake: too late", opening, 121, NO_ANSWER),
            ("close: the client may still answer", closing, 104, Wait(Tick(105))),
            ("close: the client did not answer", closing, 105, Remove),
        ]
    }

    #[rustfmt::skip]
    fn cases_of_keep_alive() -> Vec<Case> {
        let old = OpenView { pings: false, ..OPEN };
        let paused = OpenView { is_paused: true, ..OPEN };
        let quiet = OpenView { sent: Tick(90), ..OPEN };
        let spread = OpenView { spread: 5, ..OPEN };
        vec![
            ("keep-alive: sent to and heard of just now", View::Open(OPEN), 100, Wait(Tick(116))),
            ("keep-alive: the client is missed before the next ping", View::Open(OpenView { heard: Tick(80), ..OPEN }), 100, Wait(Tick(111))),
            ("keep-alive: something was sent within the interval", View::Open(quiet), 105, Wait(Tick(106))),
            ("keep-alive: nothing was sent for the interval", View::Open(quiet), 106, Ping(Tick(122))),
            ("keep-alive: a zero interval pings at every tick",
                View::Open(OpenView { timeouts: Timeouts { keep_alive: 0, ..TIMEOUTS }, ..OPEN }), 100, Ping(Tick(100))),
            ("keep-alive: pings are spread over an eighth of the interval", View::Open(spread), 114, Ping(Tick(128))),
            ("keep-alive: before the spread ping", View::Open(spread), 113, Wait(Tick(114))),
            ("client timeout: not yet over", View::Open(OPEN), 130, Ping(Tick(131))),
            ("client timeout: nothing came", View::Open(OPEN), 131, SILENT),
            ("client timeout: a client that never pinged is not missed", View::Open(old), 200, Ping(Tick(216))),
            ("client timeout: a client that is not read from is not missed", View::Open(paused), 200, Ping(Tick(216))),
        ]
    }

    #[rustfmt::skip]
    fn cases_of_tokens_and_idle_clients() -> Vec<Case> {
        let token = |tick| View::Open(OpenView { token_expires: Some(Tick(tick)), ..OPEN });
        let idle = |tick| View::Open(OpenView { idle_deadline: Some(Tick(tick)), ..OPEN });
        let both = OpenView { idle_deadline: Some(Tick(100)), token_expires: Some(Tick(101)), ..OPEN };
        vec![
            ("token: expires before the next ping", token(110), 100, Wait(Tick(110))),
            ("token: expires far away", token(1000), 100, Wait(Tick(116))),
            ("token: has expired", token(110), 110, TOKEN_EXPIRED),
            ("token: expires while the client has no socket",
                View::Open(OpenView { token_expires: Some(Tick(110)), ..WITHOUT_SOCKET }), 110, TOKEN_EXPIRED),
            ("idle: the client may still speak", idle(110), 110, Wait(Tick(111))),
            ("idle: the client said nothing", idle(110), 111, IDLE),
            ("idle and token: the token counts first", View::Open(both), 101, TOKEN_EXPIRED),
        ]
    }

    #[rustfmt::skip]
    fn cases_of_transports() -> Vec<Case> {
        vec![
            ("no socket: the app server is pinged in the client's place", View::Open(WITHOUT_SOCKET), 100, PingServer(Tick(113))),
            ("no socket: a token that expires sooner is looked at sooner",
                View::Open(OpenView { token_expires: Some(Tick(110)), ..WITHOUT_SOCKET }), 100, PingServer(Tick(110))),
            ("no socket: the client did not come back", View::Open(WITHOUT_SOCKET), 113, LOST),
            ("resume: the client may still speak", View::Open(OpenView { resuming_since: Some(Tick(90)), ..OPEN }), 110, Wait(Tick(111))),
            ("resume: the client forgot its new socket", View::Open(OpenView { resuming_since: Some(Tick(90)), ..OPEN }), 111, LOST),
            ("long polling: a poll waits; neither pinged nor missed", View::Open(long_polling(None)), 500, Wait(Tick(512))),
            ("long polling: the next poll may come", View::Open(long_polling(Some(Tick(112)))), 111, Wait(Tick(123))),
            ("long polling: no poll came", View::Open(long_polling(Some(Tick(112)))), 112, LOST),
            ("events: pinged as a socket is", View::Open(events(None)), 116, Ping(Tick(131))),
            ("events: the request has ended, and may come again", View::Open(events(Some(Tick(112)))), 111, Wait(Tick(116))),
            ("events: the request did not come again", View::Open(events(Some(Tick(112)))), 112, LOST),
        ]
    }

    #[rustfmt::skip]
    fn cases_of_single_deadlines() -> Vec<Case> {
        let slow = View::SlowReader { deadline: Some(Tick(140)) };
        let stateful = View::Unacknowledged { deadline: Tick(101) };
        vec![
            ("slow reader: may still read", slow, 139, Wait(Tick(140))),
            ("slow reader: read nothing", slow, 140, GiveUp),
            ("slow reader: has no socket to read from", View::SlowReader { deadline: None }, 141, Wait(Tick(142))),
            ("stateful: an acknowledgement waits for more messages", stateful, 100, Wait(Tick(101))),
            ("stateful: an acknowledgement waits no longer", stateful, 101, Acknowledge),
        ]
    }

    #[test]
    fn each_deadline_has_the_verdict_of_the_table() {
        let all = [
            cases_of_begin_and_end(),
            cases_of_keep_alive(),
            cases_of_tokens_and_idle_clients(),
            cases_of_transports(),
            cases_of_single_deadlines(),
        ];
        for (name, view, now, expected) in all.into_iter().flatten() {
            assert_eq!(due(&view, Tick(now)), expected, "{name}");
        }
    }
}
