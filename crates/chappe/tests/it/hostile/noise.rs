//! Random bytes on every port.

use tempfile::tempdir;
use testkit::RawSocket;

use super::{HANDSHAKE, Witness, opened, start};

/// Pseudo-random bytes that are the same in each run.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut next = || {
            // Xorshift, by Marsaglia.
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 32) as u8
        };
        (0..count).map(|_| next()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_on_every_port_do_not_affect_other_clients() {
    let folder = tempdir().expect("a folder can be made");
    let process = start(folder.path(), &["edge.head_timeout_ms=1000"]).await;
    let mut witness = Witness::connect(&process).await;
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for name in ["realtime", "gateway", "documents"] {
        let http = process.http(name);
        // Bytes that start like a request, like TLS or like HTTP/2 are parsed further.
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for start in [
            &b""[..],
            b"GET / HTTP/1.1\r\n",
            b"POST /api/v1/hubs/x HTTP/1.1\r\nhost: localhost\r\n",
            b"\x16\x03\x01",
            preface,
        ] {
            for size in [1, 100, 5_000, 100_000] {
                let mut socket = RawSocket::connect(http.authority()).await.expect("it is accepted");
                // The server may close before it has received all bytes.
                let _ = socket.send(&[start, &noise.bytes(size)].concat()).await;
                let _ = socket.finish().await;
                socket.text_to_end().await.expect("it ends");
            }
        }
    }
    witness.is_served(&process).await;
    for round in 0..200 {
        let mut socket = opened(&process).await;
        if round % 2 == 0 {
            socket.send(HANDSHAKE).await.expect("it is taken");
        }
        let mut bytes = noise.bytes(1 + round * 10);
        if round % 4 < 2 {
            // A valid frame with random content.
            let length = (bytes.len().min(65_535) as u16).to_be_bytes();
            bytes = [&[0x82, 0xfe, length[0], length[1], 0, 0, 0, 0], &bytes[..]].concat();
        }
        let _ = socket.send(&bytes).await;
        let _ = socket.finish().await;
        // Whatever the server receives, its response is valid and the connection ends.
        while !["end", "reset"].contains(&socket.heard().await.expect("it hears").as_str()) {}
        if round % 50 == 0 {
            witness.is_served(&process).await;
        }
    }
    witness.is_served(&process).await;
    let log = process.kill().await.expect("it can be killed");
    assert!(!log.contains("panicked"), "{log}");
}
