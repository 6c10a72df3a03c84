//! A streamed response: through the host, and through nginx (`proxy_pass`) from a server that sends the same.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::process::{Process, processor_time_ns};
use super::sample::Sample;

/// Bytes of one response.
const RESPONSE_BYTES: u64 = 64 << 20;

/// A server that streams a response, by the path of the app.
pub(super) struct StreamTarget {
    /// The process that is measured.
    proxy: Process,
    server: SocketAddr,
    _upstream: Option<Process>,
    _folder: Option<tempfile::TempDir>,
}

/// Whether nginx is installed.
pub(super) fn has_nginx() -> bool {
    Command::new("nginx").arg("-v").output().is_ok_and(|output| output.status.success())
}

impl StreamTarget {
    /// A host that runs already.
    pub(super) fn host(proxy: Process, server: SocketAddr, folder: Option<tempfile::TempDir>) -> Self {
        Self { proxy, server, _upstream: None, _folder: folder }
    }

    /// Starts nginx in front of the server of `script`.
    pub(super) fn nginx(script: &Path) -> anyhow::Result<Self> {
        let mut upstream = Process::start(Command::new("node").arg(script))?;
        let upstream_port: u16 = upstream.line()?.parse()?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let folder = tempfile::tempdir()?;
        let path = folder.path().display();
        let configuration = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;\n\
             events {{ }}\n\
             http {{\n\
             access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
             fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
             server {{\n\
             listen 127.0.0.1:{port};\n\
             location / {{ proxy_pass http://127.0.0.1:{upstream_port}; proxy_http_version 1.1; proxy_max_temp_file_size 0; }}\n\
             }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration)?;
        let proxy = Process::start(Command::new("nginx").arg("-c").arg(&file).arg("-p").arg(folder.path()))?;
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        let started = Instant::now();
        while TcpStream::connect(server).is_err() {
            if started.elapsed() > Duration::from_secs(5) {
                bail!("nginx does not listen: {}", std::fs::read_to_string(folder.path().join("error.log"))?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { proxy, server, _upstream: Some(upstream), _folder: Some(folder) })
    }

    /// Reads responses for a while. A call of the sample is one MiB.
    pub(super) fn sample(&self, length: Duration) -> anyhow::Result<Sample> {
        self.read_response()?;
        let before = processor_time_ns(self.proxy.id())?;
        let (began, mut bytes) = (Instant::now(), 0);
        while bytes == 0 || began.elapsed() < length {
            bytes += self.read_response()?;
        }
        let wall = began.elapsed();
        Ok(Sample {
            calls: bytes >> 20,
            wall_ns: u64::try_from(wall.as_nanos())?,
            host_ns: processor_time_ns(self.proxy.id())? - before,
            ..Sample::default()
        })
    }

    /// Reads one response to its end, and gives the bytes of its body.
    fn read_response(&self) -> anyhow::Result<u64> {
        let mut stream = TcpStream::connect(self.server)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let server = self.server;
        write!(
            stream,
            "GET /api/stream?bytes={RESPONSE_BYTES} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\r\n"
        )?;
        let (mut received, mut buffer) = (0, vec![0; 256 << 10]);
        let mut first = Vec::new();
        loop {
            let length = stream.read(&mut buffer).context("read a streamed response")?;
            if length == 0 {
                break;
            }
            if first.len() < 15 {
                first.extend_from_slice(&buffer[..length.min(15)]);
            }
            received += length as u64;
        }
        // The head and the framing of the chunks are far less than a hundredth.
        if !first.starts_with(b"HTTP/1.1 200") || received < RESPONSE_BYTES {
            bail!("a streamed response began {:?} and has {received} bytes", String::from_utf8_lossy(&first));
        }
        Ok(RESPONSE_BYTES)
    }
}
