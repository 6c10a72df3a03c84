//! The peers of the latency benchmark: an HTTP client and a hub client on blocking sockets, so that no runtime of ours adds to the measured
//! time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use identity::master_key::{MasterKey, SignedParts};
use serde_json::Value;

/// Longest time that any single step may take.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// One keep-alive HTTP/1.1 connection.
pub(crate) struct Http {
    host: String,
    stream: BufReader<TcpStream>,
}

impl Http {
    pub(crate) fn connect(host: &str) -> anyhow::Result<Self> {
        Ok(Self { host: host.to_owned(), stream: BufReader::new(open(host)?) })
    }

    /// Sends a request and reads the complete response.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        self.ask(method, path, headers, body)?;
        self.answer()
    }

    /// Sends a request whose response is read later by [`Http::answer`].
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<()> {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n", self.host, body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let message = [head.as_bytes(), body].concat();
        Ok(self.stream.get_mut().write_all(&message)?)
    }

    /// Reads the response to the oldest request.
    pub(crate) fn answer(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        let (status, headers) = read_head(&mut self.stream)?;
        let header =
            |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            return Ok((status, self.read_chunks()?));
        }
        let length: usize = header("content-length").unwrap_or("0").parse()?;
        let mut content = vec![0; length];
        self.stream.read_exact(&mut content)?;
        Ok((status, content))
    }

    fn read_chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim(), 16).context("a chunk length")?;
            let start = content.len();
            content.resize(start + length, 0);
            self.stream.read_exact(&mut content[start..])?;
            self.stream.read_line(&mut String::new())?;
            if length == 0 {
                return Ok(content);
            }
        }
    }
}

/// A client of the document service that writes cards of the example, signed as an SDK signs.
pub(crate) struct Documents {
    http: Http,
    key: MasterKey,
}

impl Documents {
    pub(crate) fn connect(host: &str) -> anyhow::Result<Self> {
        let key = MasterKey::parse(identity::DEVELOPMENT_COSMOS_KEY)?;
        Ok(Self { http: Http::connect(host)?, key })
    }

    /// Writes one card and waits until it is accepted.
    pub(crate) fn upsert(&mut self, id: &str, body: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        // The date is part of the signature; its age does not matter in this benchmark.
        const DATE: &str = "Fri, 20 Nov 2026 21:36:21 GMT";
        let path = "/dbs/demo/colls/cards/docs";
        let parts = SignedParts { verb: "POST", path, ms_date: DATE, date: "" };
        let authorization = identity::master_key::sign(&self.key, &parts);
        let partition_key = format!("[\"{id}\"]");
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-ms-date", DATE),
            ("x-ms-version", "2020-07-15"),
            ("x-ms-documentdb-is-upsert", "true"),
            ("x-ms-documentdb-partitionkey", &partition_key),
            ("content-type", "application/json"),
        ];
        self.http.request("POST", path, &headers, body)
    }
}

/// A hub client that only listens.
pub(crate) struct Hub {
    stream: BufReader<TcpStream>,
}

impl Hub {
    /// Connects with the result of `negotiate`: `{url, accessToken}`; skips the second negotiation, as clients may.
    pub(crate) fn connect(host: &str, access: &Value) -> anyhow::Result<Self> {
        let url = access["url"].as_str().context("negotiate gives a url")?;
        let token = access["accessToken"].as_str().context("negotiate gives a token")?;
        let path = url.splitn(4, '/').nth(3).context("the url has a path")?;
        let mut stream = BufReader::new(open(host)?);
        write!(
            stream.get_mut(),
            "GET /{path}&access_token={token} HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )?;
        let (status, _) = read_head(&mut stream)?;
        if status != 101 {
            bail!("the hub answered {status} to the upgrade");
        }
        let mut hub = Self { stream };
        hub.send(b"{\"protocol\":\"json\",\"version\":1}\x1e")?;
        let answer = hub.receive()?;
        if answer != b"{}\x1e" {
            bail!("the handshake was answered {}", String::from_utf8_lossy(&answer));
        }
        Ok(hub)
    }

    /// Reads until a message contains `marker`, and returns the time of its arrival.
    pub(crate) fn wait_for(&mut self, marker: &str) -> anyhow::Result<Instant> {
        loop {
            let message = self.receive()?;
            let arrived = Instant::now();
            if String::from_utf8_lossy(&message).contains(marker) {
                return Ok(arrived);
            }
        }
    }

    /// A masked text frame (RFC 6455, section 5.3); a mask of zeros leaves the payload as it is.
    fn send(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let length =
            u8::try_from(payload.len()).ok().filter(|length| *length < 126).context("a short message")?;
        let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], payload].concat();
        Ok(self.stream.get_mut().write_all(&frame)?)
    }

    fn receive(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        let length = match head[1] & 0x7f {
            126 => {
                let mut bytes = [0; 2];
                self.stream.read_exact(&mut bytes)?;
                u64::from(u16::from_be_bytes(bytes))
            }
            127 => {
                let mut bytes = [0; 8];
                self.stream.read_exact(&mut bytes)?;
                u64::from_be_bytes(bytes)
            }
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut payload)?;
        if head[0] & 0x0f == 8 {
            bail!("the hub closed the connection");
        }
        Ok(payload)
    }
}

fn open(host: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(host).with_context(|| format!("connect to {host}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    Ok(stream)
}

fn read_head(stream: &mut impl BufRead) -> anyhow::Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status =
        line.split_whitespace().nth(1).with_context(|| format!("a status line, not {line:?}"))?.parse()?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok((status, headers)) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}
