//! [`Wire`]: the app server's end of a server connection.

use std::collections::VecDeque;

use anyhow::Context;
use signalr_protocol::next_message;
use signalr_protocol::service::FRAMING;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use websocket::{Decoder, Event, Role};

use crate::PATIENCE;

/// The connection with its frame decoder and message splitter.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    decoder: Decoder,
    bytes: Vec<u8>,
    messages: VecDeque<Vec<u8>>,
    /// Code and reason of the service's close frame.
    pub(super) closed: Option<(u16, String)>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        let decoder = Decoder::new(Role::Client, 64 * 1024 * 1024);
        Self { stream, decoder, bytes: Vec::new(), messages: VecDeque::new(), closed: None }
    }

    /// The next message; `None` when the connection has closed.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(Some(message));
            }
            let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            match read.context("the service is silent")? {
                Ok(0) | Err(_) => return Ok(None),
                Ok(count) => self.take(&mut buffer[..count])?,
            }
        }
    }

    fn take(&mut self, mut input: &mut [u8]) -> anyhow::Result<()> {
        loop {
            let decoded = self.decoder.decode(input)?;
            match decoded.event {
                None => break,
                Some(Event::Message(_, payload)) => self.bytes.extend_from_slice(payload),
                Some(Event::Close(close)) => {
                    let code = close.code.map_or(1005, websocket::CloseCode::number);
                    self.closed = Some((code, close.reason.to_owned()));
                }
                Some(Event::Ping(_) | Event::Pong(_)) => {}
            }
            let consumed = decoded.consumed;
            input = &mut input[consumed..];
        }
        while let Some((message, used)) = next_message(FRAMING, &self.bytes, usize::MAX >> 1)? {
            self.messages.push_back(message.to_vec());
            self.bytes.drain(..used);
        }
        Ok(())
    }
}
