//! Asks a proxy for a tunnel (CONNECT, RFC 9110 section 9.3.6).

use std::io;

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest head of a proxy's response, in bytes.
const RESPONSE_HEAD_BYTES_MAX: usize = 8192;

/// Why there is no tunnel.
#[derive(Debug)]
pub(crate) enum TunnelError {
    /// The connection to the proxy failed.
    Io(io::Error),
    /// The proxy said no, or something else than HTTP; this is its first line.
    Refused(String),
}

/// Turns a connection to a proxy into one to `target` (`host:port`).
pub(crate) async fn open(
    stream: &mut TcpStream,
    target: &str,
    authorization: Option<&HeaderValue>,
) -> Result<(), TunnelError> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(value) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(TunnelError::Io)?;
    let mut response = Vec::new();
    // The other end of a tunnel speaks only after us, so that what is read here is the head and nothing else.
    while !response.ends_with(b"\r\n\r\n") {
        let length = stream.read_buf(&mut response).await.map_err(TunnelError::Io)?;
        if length == 0 || response.len() > RESPONSE_HEAD_BYTES_MAX {
            return Err(TunnelError::Refused(first_line(&response)));
        }
    }
    let line = first_line(&response);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    match status {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(()),
        _ => Err(TunnelError::Refused(line)),
    }
}

/// The first line of a response, in a form that can be shown.
fn first_line(response: &[u8]) -> String {
    let end = response.iter().position(|byte| *byte == b'\r').unwrap_or(response.len()).min(200);
    let line: String =
        String::from_utf8_lossy(&response[..end]).chars().filter(|c| !c.is_control()).collect();
    if line.is_empty() { "it closed the connection".to_owned() } else { line }
}
