//! The baseline: our listener and HTTP stack with a service that reads the body, verifies nothing, and writes a prepared frame to the
//! sockets that the path names. No service can send by REST over this stack with less work.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use http_messages::Body;
use tokio::runtime::Runtime;

use super::{FRAME_BYTES, GROUP};

const UPGRADED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
const ACCEPTED: &[u8] = b"\x81\x03{}\x1e";

/// What the service sends, and to which clients.
struct Receivers {
    frame: Bytes,
    sockets: OnceLock<Vec<TcpStream>>,
}

/// Starts to serve; returns the addresses for requests and for clients.
pub(super) fn start(runtime: &Runtime, connections: u32) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let clients = TcpListener::bind("127.0.0.1:0")?;
    let clients_at = clients.local_addr()?;
    let frame = websocket::frame(websocket::Opcode::Text, &[b'x'; FRAME_BYTES - 4]);
    let receivers = Arc::new(Receivers { frame, sockets: OnceLock::new() });
    {
        let receivers = Arc::clone(&receivers);
        std::thread::spawn(move || {
            if let Err(error) = accept(&clients, connections, &receivers.sockets) {
                eprintln!("accept the clients: {error}");
            }
        });
    }
    let listener = {
        let _inside = runtime.enter();
        edge::Listener::bind("bench", ([127, 0, 0, 1], 0).into())?
    };
    let http_at = listener.local_addr();
    let service = tower::service_fn(move |request| answer(Arc::clone(&receivers), request));
    // This thread ends with the process.
    runtime.spawn(listener.serve(service, std::future::pending::<()>()));
    Ok((http_at, clients_at))
}

/// Accepts all clients, and responds to their handshakes as the real service does, so that their connections have the same history.
fn accept(
    listener: &TcpListener,
    connections: u32,
    sockets: &OnceLock<Vec<TcpStream>>,
) -> anyhow::Result<()> {
    let mut accepted = Vec::new();
    let mut said = [0; 1024];
    for number in 1..=connections {
        let (mut socket, _from) = listener.accept()?;
        socket.set_nodelay(true)?;
        if socket.read(&mut said)? == 0 {
            bail!("a client left before its upgrade");
        }
        socket.write_all(UPGRADED)?;
        if socket.read(&mut said)? == 0 {
            bail!("a client left before its handshake");
        }
        if number < connections {
            socket.write_all(ACCEPTED)?;
        }
        socket.set_nonblocking(true)?;
        accepted.push(socket);
    }
    // The last client gets its response when requests can be answered.
    let accepted = sockets.get_or_init(|| accepted);
    let mut last = accepted.last().context("there is a client")?;
    Ok(last.write_all(ACCEPTED)?)
}

async fn answer(receivers: Arc<Receivers>, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let status = match (body.collect().await, receivers.write(head.uri.path())) {
        (Ok(_body), Ok(())) => StatusCode::ACCEPTED,
        (Err(error), _) => {
            eprintln!("read a body: {error}");
            StatusCode::BAD_REQUEST
        }
        (_, Err(error)) => {
            eprintln!("{}: {error}", head.uri.path());
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    Ok(response)
}

impl Receivers {
    /// One write for each socket that the path names: one by its number, or all.
    fn write(&self, path: &str) -> anyhow::Result<()> {
        let sockets = self.sockets.get().context("the clients are not connected yet")?;
        let mut segments = path.split('/').skip(4);
        let (kind, name) = (segments.next(), segments.next().context("a name in the path")?);
        let sockets = match kind {
            Some("connections") => {
                let number: usize = name.parse().context("a number in the path")?;
                std::slice::from_ref(sockets.get(number).context("a client of that number")?)
            }
            Some("groups") if name == GROUP => sockets,
            _ => bail!("neither a connection nor the group"),
        };
        for mut socket in sockets {
            if socket.write(&self.frame)? != self.frame.len() {
                bail!("a client's socket is full: the generator does not keep up");
            }
        }
        Ok(())
    }
}
