//! The baseline: the same listener and the same WebSocket frames, with a service that has one fixed response to each request and checks
//! nothing, and a loop that accepts any handshake.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use edge::{Socket, Upgrade};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use http_messages::Body;
use mio::{Events, Interest, Poll, Token, Waker};
use signalr_protocol::HANDSHAKE_SUCCESS;
use slab::Slab;
use websocket::{Decoder, Event, Opcode, Role};

const WAKER: Token = Token(usize::MAX);

/// Largest message, as the real service's default.
const MESSAGE_BYTES_MAX: u32 = 1024 * 1024;

/// The response of the real service, in form and length.
const NEGOTIATED: &str = r#"{"negotiateVersion":1,"connectionId":"AAAAAAAAAAAAAAAAAAAAAAAAAAA","connectionToken":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]},{"transport":"ServerSentEvents","transferFormats":["Text"]},{"transport":"LongPolling","transferFormats":["Text","Binary"]}]}"#;

/// The service, and its channel to the loop that owns the sockets.
#[derive(Clone)]
pub(super) struct Bare {
    sockets: mpsc::Sender<Socket>,
    alarm: Arc<Alarm>,
}

/// Wakes the loop once for all new sockets.
struct Alarm {
    waker: Waker,
    rung: AtomicBool,
    held: AtomicU64,
}

struct Loop {
    poll: Poll,
    alarm: Arc<Alarm>,
    arriving: mpsc::Receiver<Socket>,
    clients: Slab<(Socket, Decoder)>,
    buffer: Vec<u8>,
}

impl Bare {
    pub(super) fn start() -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let alarm = Alarm {
            waker: Waker::new(poll.registry(), WAKER)?,
            rung: AtomicBool::new(false),
            held: AtomicU64::new(0),
        };
        let alarm = Arc::new(alarm);
        let (sockets, arriving) = mpsc::channel();
        let loop_ = Loop {
            poll,
            alarm: Arc::clone(&alarm),
            arriving,
            clients: Slab::new(),
            buffer: vec![0; 64 * 1024],
        };
        std::thread::Builder::new().name("bare".to_owned()).spawn(move || loop_.run())?;
        Ok(Self { sockets, alarm })
    }

    /// Sockets that the loop owns.
    pub(super) fn held(&self) -> u64 {
        self.alarm.held.load(Ordering::Acquire)
    }

    pub(super) async fn answer(self, mut request: Request<Body>) -> Result<Response<Body>, Infallible> {
        if *request.method() == Method::PUT {
            return Ok(respond(StatusCode::OK, ""));
        }
        if *request.method() == Method::POST {
            let mut response = respond(StatusCode::OK, NEGOTIATED);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            return Ok(response);
        }
        let upgrade = request.extensions_mut().remove::<Upgrade>();
        let (Ok(accept), Some(upgrade)) = (websocket::accept_upgrade(&request), upgrade) else {
            return Ok(respond(StatusCode::BAD_REQUEST, ""));
        };
        tokio::spawn(async move {
            match upgrade.into_socket().await {
                Ok(socket) => self.hand_over(socket),
                Err(error) => eprintln!("upgrade: {error}"),
            }
        });
        let mut response = respond(StatusCode::SWITCHING_PROTOCOLS, "");
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accept = accept.parse().expect("base64 is a header value");
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        Ok(response)
    }

    fn hand_over(&self, socket: Socket) {
        // The loop ends with the process.
        let _ = self.sockets.send(socket);
        if !self.alarm.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.alarm.waker.wake()
        {
            eprintln!("wake: {error}");
        }
    }
}

fn respond(status: StatusCode, body: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(body.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

impl Loop {
    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        while let Ok(()) = self.poll.poll(&mut events, None) {
            for event in &events {
                if event.token() == WAKER {
                    self.alarm.rung.store(false, Ordering::Release);
                    self.take_arriving();
                } else {
                    self.read(event.token().0);
                }
            }
            self.alarm.held.store(self.clients.len() as u64, Ordering::Release);
        }
    }

    fn take_arriving(&mut self) {
        while let Ok(socket) = self.arriving.try_recv() {
            let key = self.clients.insert((socket, Decoder::new(Role::Server, MESSAGE_BYTES_MAX)));
            let socket = &mut self.clients[key].0;
            let has_leftover = socket.has_leftover();
            let both = Interest::READABLE | Interest::WRITABLE;
            if mio::event::Source::register(socket, self.poll.registry(), Token(key), both).is_err() {
                self.clients.remove(key);
            } else if has_leftover {
                self.read(key);
            }
        }
    }

    fn read(&mut self, key: usize) {
        loop {
            let Some((socket, decoder)) = self.clients.get_mut(key) else { return };
            let length = match socket.try_read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(length) if length > 0 => length,
                Ok(_) | Err(_) => return drop(self.clients.remove(key)),
            };
            if !greet(socket, decoder, &mut self.buffer[..length]) {
                return drop(self.clients.remove(key));
            }
        }
    }
}

/// Responds to each message as to a handshake. False if the client is to be closed.
fn greet(socket: &mut Socket, decoder: &mut Decoder, mut input: &mut [u8]) -> bool {
    loop {
        let Ok(decoded) = decoder.decode(input) else { return false };
        let consumed = decoded.consumed;
        match decoded.event {
            None => return true,
            Some(Event::Message(..)) => {
                let answer = websocket::frame(Opcode::Text, HANDSHAKE_SUCCESS);
                if socket.try_write(&answer).is_err() {
                    return false;
                }
            }
            Some(Event::Close(_)) => return false,
            Some(Event::Ping(_) | Event::Pong(_)) => {}
        }
        input = &mut input[consumed..];
    }
}
