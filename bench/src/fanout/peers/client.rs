//! One client of a peer, on a blocking socket: from the upgrade until it is in the group.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, bail};
use websocket::Opcode;

use super::{GROUP, Peer};

/// Longest head of an upgrade response, and longest frame before a client is in the group.
const ANSWER_BYTES_MAX: usize = 4096;

/// Opens a WebSocket and does what the peer requires to add the client to the group.
///
/// Reads no byte beyond what the peer sends until then, so that all further frames are published messages.
pub(crate) fn open(peer: Peer, stream: &mut TcpStream, authority: &str) -> anyhow::Result<()> {
    let path = match peer {
        Peer::Ws | Peer::Gws | Peer::Bun => "/",
        Peer::SocketIo => "/socket.io/?EIO=4&transport=websocket",
        Peer::Centrifugo => "/connection/websocket",
    };
    upgrade(stream, authority, path)?;
    match peer {
        // The programs in `bench/peers`: a client that sends a message joins the group.
        Peer::Ws | Peer::Gws | Peer::Bun => {
            say(stream, "join")?;
            expect(stream, "joined")
        }
        // Its transport opens without a request; a client requests the namespace, and the program adds it to the room.
        Peer::SocketIo => {
            expect(stream, "0{")?;
            say(stream, "40")?;
            expect(stream, "40{")
        }
        Peer::Centrifugo => {
            say(stream, "{\"id\":1,\"connect\":{}}")?;
            expect(stream, "{\"id\":1,\"connect\":")?;
            say(stream, &format!("{{\"id\":2,\"subscribe\":{{\"channel\":\"{GROUP}\"}}}}"))?;
            expect(stream, "{\"id\":2,\"subscribe\":")
        }
    }
}

fn upgrade(stream: &mut TcpStream, authority: &str, path: &str) -> anyhow::Result<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        // Byte by byte, because frames may follow at once.
        stream.read_exact(&mut byte).context("the peer does not answer the upgrade")?;
        head.push(byte[0]);
        if head.len() > ANSWER_BYTES_MAX {
            bail!("the answer to the upgrade does not end");
        }
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        bail!("the peer does not open a WebSocket: {}", String::from_utf8_lossy(&head));
    }
    Ok(())
}

fn say(stream: &mut TcpStream, text: &str) -> anyhow::Result<()> {
    let frame = websocket::masked_frame(Opcode::Text, text.as_bytes(), [1, 2, 3, 4]);
    Ok(stream.write_all(&frame)?)
}

fn expect(stream: &mut impl Read, start: &str) -> anyhow::Result<()> {
    let payload = read_frame(stream)?;
    if !payload.starts_with(start.as_bytes()) {
        bail!("the peer says {:?} where {start:?} was expected", String::from_utf8_lossy(&payload));
    }
    Ok(())
}

/// Reads exactly one text frame, and returns its payload.
fn read_frame(stream: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).context("the peer says nothing")?;
    let length = match head {
        [0x81, length @ 0..=125] => usize::from(length),
        [0x81, 126] => {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            usize::from(u16::from_be_bytes(length))
        }
        _ => bail!("the peer sends a frame that begins with {head:02x?}, which is no short text"),
    };
    if length > ANSWER_BYTES_MAX {
        bail!("the peer says {length} bytes before the client is in the group");
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_frame_is_read() {
        let long = "x".repeat(300);
        let bytes =
            [websocket::frame(Opcode::Text, b"40{}"), websocket::frame(Opcode::Text, long.as_bytes())];
        let bytes = bytes.concat();
        let mut stream = bytes.as_slice();
        expect(&mut stream, "40{").expect("the first frame");
        assert_eq!(stream.len(), 304);
        assert_eq!(read_frame(&mut stream).expect("the second frame"), long.as_bytes());
        assert!(stream.is_empty());
    }

    #[test]
    fn a_frame_without_text_is_rejected() {
        let ping = websocket::frame(Opcode::Ping, b"");
        assert!(read_frame(&mut ping.as_ref()).is_err());
    }
}
