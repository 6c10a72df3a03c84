//! Converts the lines of a recording to steps.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use signalr_protocol::next_message;
use signalr_protocol::service::{FRAMING, Message, parse};

/// One WebSocket message of a recording.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    dir: String,
    conn: u32,
    hex: String,
}

/// One step of a recording.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// An app server sends these bytes; the first ones open the connection.
    Server { conn: u32, bytes: Vec<u8> },
    /// A client connects and sends its handshake, which its app server receives.
    Open { conn: u32, message: Vec<u8>, handshake: Vec<u8> },
    /// A client, by its recorded id, sends these bytes.
    Client { id: String, bytes: Vec<u8> },
    /// A client closes its socket without a Close message.
    Leave { id: String },
    /// A client reconnects with a new socket.
    Return { id: String },
    /// An app server receives this message.
    Expect { conn: u32, message: Vec<u8> },
}

/// Parses a recording.
pub(super) fn steps(recording: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut unfinished: HashMap<u32, Vec<u8>> = HashMap::new();
    let (mut connecting, mut leaving) = (HashSet::new(), HashSet::new());
    for line in recording.lines() {
        let Line { dir, conn, hex } = serde_json::from_str(line).unwrap();
        let bytes = bytes(&hex);
        if dir == "server>service" {
            note_closed_by_servers(&bytes, &mut leaving);
            steps.push(Step::Server { conn, bytes });
            continue;
        }
        let buffer = unfinished.entry(conn).or_default();
        buffer.extend(bytes);
        while let Some((message, used)) = next_message(FRAMING, buffer, usize::MAX >> 1).unwrap() {
            push_steps(conn, message, &mut steps, &mut connecting, &mut leaving);
            buffer.drain(..used);
        }
    }
    steps
}

/// Clients that a server closes do not disconnect by themselves.
fn note_closed_by_servers(mut bytes: &[u8], leaving: &mut HashSet<String>) {
    while let Some((message, used)) = next_message(FRAMING, bytes, usize::MAX >> 1).unwrap() {
        if let Message::CloseConnection { connection_id, .. } = parse(message).unwrap() {
            leaving.insert(connection_id.to_owned());
        }
        bytes = &bytes[used..];
    }
}

/// Converts a message to an app server to steps of clients, or to an expected message.
fn push_steps(
    conn: u32,
    message: &[u8],
    steps: &mut Vec<Step>,
    connecting: &mut HashSet<String>,
    leaving: &mut HashSet<String>,
) {
    let expect = Step::Expect { conn, message: message.to_vec() };
    match parse(message).unwrap() {
        Message::OpenConnection(open) => {
            connecting.insert(open.connection_id.to_owned());
            let has_moved = open.headers.iter().any(|(name, _)| *name == "Asrs-Migrate-From");
            let open = Step::Open { conn, message: message.to_vec(), handshake: Vec::new() };
            steps.push(if has_moved { expect } else { open });
        }
        Message::ConnectionData { connection_id: id, payload, .. } => {
            if connecting.remove(id) {
                // Its handshake, or the one with which the service introduces it to another server.
                for step in steps.iter_mut().rev() {
                    if let Step::Open { message, handshake, .. } = step
                        && is_about(message, id)
                    {
                        *handshake = payload.to_vec();
                        break;
                    }
                }
            } else {
                if is_close(payload) {
                    leaving.insert(id.to_owned());
                }
                steps.push(Step::Client { id: id.to_owned(), bytes: payload.to_vec() });
            }
            steps.push(expect);
        }
        Message::CloseConnection { connection_id: id, headers, .. } => {
            if headers.is_empty() && !leaving.contains(id) {
                steps.push(Step::Leave { id: id.to_owned() });
            }
            steps.push(expect);
        }
        Message::ConnectionReconnect { connection_id: id, .. } => {
            steps.push(Step::Return { id: id.to_owned() });
            steps.push(expect);
        }
        // The recorded service was wrong here: a normal disconnect of a client is not an event.
        Message::ServiceEvent { kind: 2, .. } => {}
        _ => steps.push(expect),
    }
}

pub(super) fn is_close(payload: &[u8]) -> bool {
    payload == b"{\"type\":7}\x1e" || payload == b"\x03\x92\x07\xc0"
}

fn is_about(message: &[u8], id: &str) -> bool {
    matches!(parse(message), Ok(Message::OpenConnection(open)) if open.connection_id == id)
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.as_bytes().chunks(2).map(byte).collect()
}
