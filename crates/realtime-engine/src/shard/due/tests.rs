//! A table of all deadlines.

use super::*;
use Verdict::{
    Acknowledge, Close, End, EndStalledReader, LoseSocket, Ping, PingServer, Refuse, Remove, Wait,
};

const TIMEOUTS: Timeouts = Timeouts {
    handshake: 20,
    keep_alive: 16,
    client_timeout: 30,
    close: 5,
    disconnect: 12,
    own_stalled: 40,
    soon: 1,
};

/// A WebSocket whose client pings; its last events are at tick 100.
const OPEN: OpenView = OpenView {
    reached_by: ReachedBy::Socket,
    token_expires: None,
    idle_deadline: None,
    resuming_since: None,
    last_received_at: Tick(100),
    last_sent_at: Tick(100),
    has_pinged: true,
    is_paused: false,
    spread: 0,
    timeouts: TIMEOUTS,
};
const WITHOUT_SOCKET: OpenView = OpenView { reached_by: ReachedBy::Nothing { deadline: Tick(113) }, ..OPEN };
const TOKEN_EXPIRED: Verdict =
    Close { reason: EndReason::TokenExpired, error: "the access token has expired", allow_reconnect: true };
const IDLE: Verdict = Close {
    reason: EndReason::IdleTimeout,
    error: "the client sent no message for longer than this hub allows",
    allow_reconnect: false,
};
const NO_HANDSHAKE: Verdict =
    Refuse(EndReason::HandshakeTimeout, "no handshake request was received in time");
const NO_ANSWER: Verdict = Refuse(EndReason::HandshakeTimeout, "the handshake was not completed in time");
const LOST: Verdict = End(EndReason::ConnectionLost);
const SILENT: Verdict = LoseSocket(EndReason::ClientTimeout);

fn long_polling(request_deadline: Option<Tick>) -> OpenView {
    OpenView { reached_by: ReachedBy::LongPolling { request_deadline }, ..OPEN }
}

fn events(request_deadline: Option<Tick>) -> OpenView {
    OpenView { reached_by: ReachedBy::ServerSentEvents { request_deadline }, ..OPEN }
}

/// The name, the view, the tick, and the expected verdict.
type Case = (&'static str, View, u32, Verdict);

#[rustfmt::skip]
fn cases_of_begin_and_end() -> Vec<Case> {
    let handshaking = View::Handshaking { deadline: Tick(120) };
    let opening = View::Opening { deadline: Tick(120) };
    let closing = View::Closing { since: Tick(100), timeouts: TIMEOUTS };
    vec![
        ("handshake: there is time", handshaking, 119, Wait(Tick(120))),
        ("handshake: too late", handshaking, 120, NO_HANDSHAKE),
        ("handshake response: there is time", opening, 100, Wait(Tick(120))),
        ("handshake response: too late", opening, 121, NO_ANSWER),
        ("close: the client may still respond", closing, 104, Wait(Tick(105))),
        ("close: the client did not respond", closing, 105, Remove),
    ]
}

#[rustfmt::skip]
fn cases_of_keep_alive() -> Vec<Case> {
    let old = OpenView { has_pinged: false, ..OPEN };
    let paused = OpenView { is_paused: true, ..OPEN };
    let quiet = OpenView { last_sent_at: Tick(90), ..OPEN };
    let spread = OpenView { spread: 5, ..OPEN };
    vec![
        ("keep-alive: a message was sent and received just now", View::Open(OPEN), 100, Wait(Tick(116))),
        ("keep-alive: the client timeout is before the next ping", View::Open(OpenView { last_received_at: Tick(80), ..OPEN }), 100, Wait(Tick(111))),
        ("keep-alive: something was sent within the interval", View::Open(quiet), 105, Wait(Tick(106))),
        ("keep-alive: nothing was sent for the interval", View::Open(quiet), 106, Ping(Tick(122))),
        ("keep-alive: a zero interval pings at every tick",
            View::Open(OpenView { timeouts: Timeouts { keep_alive: 0, ..TIMEOUTS }, ..OPEN }), 100, Ping(Tick(100))),
        ("keep-alive: pings are spread over an eighth of the interval", View::Open(spread), 114, Ping(Tick(128))),
        ("keep-alive: before the spread ping", View::Open(spread), 113, Wait(Tick(114))),
        ("client timeout: not yet over", View::Open(OPEN), 130, Ping(Tick(131))),
        ("client timeout: nothing was received", View::Open(OPEN), 131, SILENT),
        ("client timeout: a client that never pinged has none", View::Open(old), 200, Ping(Tick(216))),
        ("client timeout: a paused client has none", View::Open(paused), 200, Ping(Tick(216))),
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
        ("idle: the client may still send a message", idle(110), 110, Wait(Tick(111))),
        ("idle: the client sent no message", idle(110), 111, IDLE),
        ("idle and token: the token has precedence", View::Open(both), 101, TOKEN_EXPIRED),
    ]
}

#[rustfmt::skip]
fn cases_of_transports() -> Vec<Case> {
    vec![
        ("no socket: a ping is sent to the app server for the client", View::Open(WITHOUT_SOCKET), 100, PingServer(Tick(113))),
        ("no socket: a token that expires sooner is checked sooner",
            View::Open(OpenView { token_expires: Some(Tick(110)), ..WITHOUT_SOCKET }), 100, PingServer(Tick(110))),
        ("no socket: the client did not reconnect", View::Open(WITHOUT_SOCKET), 113, LOST),
        ("resume: the client may still send its Sequence", View::Open(OpenView { resuming_since: Some(Tick(90)), ..OPEN }), 110, Wait(Tick(111))),
        ("resume: the client did not send its Sequence", View::Open(OpenView { resuming_since: Some(Tick(90)), ..OPEN }), 111, LOST),
        ("long polling: while a poll waits there are no pings and no timeout", View::Open(long_polling(None)), 500, Wait(Tick(512))),
        ("long polling: the next poll may still arrive", View::Open(long_polling(Some(Tick(112)))), 111, Wait(Tick(123))),
        ("long polling: no poll arrived", View::Open(long_polling(Some(Tick(112)))), 112, LOST),
        ("events: pinged like a WebSocket", View::Open(events(None)), 116, Ping(Tick(131))),
        ("events: the request has ended, and the next may still arrive", View::Open(events(Some(Tick(112)))), 111, Wait(Tick(116))),
        ("events: no further request arrived", View::Open(events(Some(Tick(112)))), 112, LOST),
    ]
}

#[rustfmt::skip]
fn cases_of_single_deadlines() -> Vec<Case> {
    let slow = View::SlowReader { deadline: Some(Tick(140)) };
    let stateful = View::Unacknowledged { deadline: Tick(101) };
    vec![
        ("slow reader: may still read", slow, 139, Wait(Tick(140))),
        ("slow reader: has read nothing", slow, 140, EndStalledReader),
        ("slow reader: has no socket to read from", View::SlowReader { deadline: None }, 141, Wait(Tick(142))),
        ("stateful: an acknowledgement waits for more messages", stateful, 100, Wait(Tick(101))),
        ("stateful: an acknowledgement is due", stateful, 101, Acknowledge),
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
