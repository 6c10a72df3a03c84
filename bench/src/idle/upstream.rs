//! An upstream that accepts everything: it responds to each request with 204, and counts the requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A tiny HTTP server, a thread for each of the few connections that a pooled client keeps. Its threads end with the process.
pub(super) struct Upstream {
    pub(super) authority: String,
    told: Arc<AtomicU64>,
}

impl Upstream {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let authority = listener.local_addr()?.to_string();
        let told = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&told);
        std::thread::Builder::new().name("upstream".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                std::thread::spawn(move || {
                    // A broken connection is reported by the other side.
                    let _ = serve(stream, &count);
                });
            }
        })?;
        Ok(Self { authority, told })
    }

    /// Requests that were answered.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }
}

fn serve(stream: TcpStream, told: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let field = line.trim_end().to_ascii_lowercase();
            if field.is_empty() {
                break;
            }
            if let Some(value) = field.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink())?;
        told.fetch_add(1, Ordering::AcqRel);
        stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}
