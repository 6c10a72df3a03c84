//! The recording of a client that invokes methods while it migrates to another app server. It has one client of many, without the
//! handshakes of the servers, their pings and the acks, which are added here. The recorded service forwarded invocation 13 after
//! the pause, so that its completion was lost; it belongs to the new server.

use signalr_protocol::next_message;
use signalr_protocol::service::{AckStatus, Extensions, FRAMING, FlowOperation, Message, parse};

use super::recording::{self, Step};

/// The server that shuts down, and the other one.
pub(super) const NAMES: [(u32, &str); 2] =
    [(OLD, "vm_be32ca87028d49038a9b71d047fa84e2"), (NEW, "vm_3c1c0f4257a24447b33afc2c53acbb1d")];

const OLD: u32 = 5;
const NEW: u32 = 8;

/// A handshake with migration level 1, as in `migrate.jsonl`.
const HANDSHAKE: &[u8] = b"\x08\x97\x01\x01\x00\xa0\x01\x80\xc2";

const LAST_CALL: &[u8] = b"\"invocationId\":\"13\",\"type\":1}\x1e";
const LAST_ANSWER: &[u8] = b"{\"type\":3,\"invocationId\":\"13\",\"result\":\"m13\"}\x1e";

/// The recorded steps, with the correct behaviour.
pub(super) fn steps() -> Vec<Step> {
    let mut all: Vec<Step> = [OLD, NEW].into_iter().flat_map(handshake).collect();
    let (mut acks, mut behind_pause) = (Vec::new(), Vec::new());
    for step in recording::steps(include_str!("pause-race.jsonl")) {
        let message = match &step {
            Step::Server { bytes, .. } => parse(&bytes[1..]),
            Step::Expect { message, .. } => parse(message),
            _ => {
                all.push(step);
                continue;
            }
        };
        match (message, &step) {
            (Ok(Message::JoinGroupWithAck { ack_id, .. }), Step::Server { conn, .. }) => {
                let (status, extensions) = (AckStatus::Ok, Extensions::default());
                acks.push(expect(
                    *conn,
                    &Message::Ack { ack_id, status, message: None, extensions, payload: None },
                ));
                all.push(step);
            }
            (Ok(Message::ConnectionFlowControl { operation: FlowOperation::Pause, .. }), _) => {
                let shutdown = Message::Ping { messages: vec!["shutdown", "fin:1"] };
                all.push(Step::Server { conn: OLD, bytes: bytes(&shutdown) });
                all.push(expect(OLD, &Message::Ping { messages: vec!["shutdown", "finack"] }));
                all.push(step);
            }
            (Ok(Message::ConnectionData { connection_id, payload, .. }), Step::Expect { message, .. })
                if payload.ends_with(LAST_CALL) =>
            {
                let extensions = Extensions::default();
                let answer = Message::ConnectionData { connection_id, payload: LAST_ANSWER, extensions };
                behind_pause.push(Step::Expect { conn: NEW, message: message.clone() });
                behind_pause.push(Step::Server { conn: NEW, bytes: bytes(&answer) });
            }
            (Ok(Message::ConnectionData { payload, .. }), Step::Expect { conn: NEW, .. })
                if payload.starts_with(b"{\"protocol\"") =>
            {
                all.push(step);
                all.append(&mut behind_pause);
            }
            _ => all.push(step),
        }
    }
    all.extend(acks);
    all
}

fn handshake(conn: u32) -> [Step; 2] {
    let answer = Message::HandshakeResponse {
        error_message: Some(""),
        extensions: Extensions::default(),
        connection_id: Some("any"),
    };
    [Step::Server { conn, bytes: HANDSHAKE.to_vec() }, expect(conn, &answer)]
}

fn expect(conn: u32, message: &Message<'_>) -> Step {
    let framed = bytes(message);
    let (payload, _) = next_message(FRAMING, &framed, framed.len()).unwrap().unwrap();
    Step::Expect { conn, message: payload.to_vec() }
}

fn bytes(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}
