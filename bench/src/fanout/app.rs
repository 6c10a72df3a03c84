//! The app behind an upstream: it sends each invocation of a client to all clients by REST. A separate process beside the generator.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::generator::{authorization, path};
use super::process::pin;
use crate::latency::peer::Http;

/// Longest body of an invocation that it accepts.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Runs until its input closes; the first line of the input is the server's address.
pub(crate) fn run() -> anyhow::Result<()> {
    pin(1)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let mut lines = io::stdin().lock().lines();
    let server: Arc<str> = lines.next().context("where the server listens")??.into();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = Arc::clone(&server);
            std::thread::spawn(move || {
                if let Err(error) = answer(stream, &server) {
                    eprintln!("app: {error:#}");
                }
            });
        }
    });
    // The driver closes it when it is done.
    lines.for_each(drop);
    Ok(())
}

/// Responds to the invocations of one connection, one after the other.
fn answer(stream: TcpStream, server: &str) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut rest = Http::connect(server)?;
    let (path, authorization) = (path(), authorization(&path())?);
    while let Some(body) = read_call(&mut stream)? {
        let call: serde_json::Value = serde_json::from_slice(body.strip_suffix(b"\x1e").unwrap_or(&body))?;
        let message = serde_json::json!({ "target": "m", "arguments": call["arguments"] }).to_string();
        let headers = [("authorization", authorization.as_str())];
        let (status, answer) = rest.request("POST", &path, &headers, message.as_bytes())?;
        if status != 202 {
            bail!("a message was answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
    Ok(())
}

/// The body of the next invocation; `None` if there are no more.
fn read_call(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<Vec<u8>>> {
    let mut length = 0;
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    while line != "\r\n" {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        line.clear();
        stream.read_line(&mut line)?;
    }
    if length > BODY_BYTES_MAX {
        bail!("a call of {length} bytes");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(body))
}
