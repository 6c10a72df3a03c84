//! The tasks of a server connection. One reads requests and executes them one after the other, so that they take effect in the order in
//! which the app server sent them; the other writes what is in the [`SendQueue`].

use std::sync::Arc;
use std::time::Duration;

use signalr_protocol::service::{Extensions, Message};
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use websocket::{CloseCode, close_frame};

use super::from_protocol::parse_request;
use super::handshake::{Handshake, NO_HANDSHAKE, parse_handshake};
use super::message_io::{MessageReader, ReadEnd, write_messages, write_within};
use super::request::ServerRequest;
use super::send_queue::{SendQueue, WriteBatch};
use super::server_connection::{ConnectingServer, ServerConnection};
use super::shared::Servers;
use realtime_engine::Stopped;

/// Interval at which the app server may send one message to a slow client. After a pause of 500 ms the SDK sends its buffered messages only
/// when the hub writes to the client again, so that the end of a stream would stay in its buffer.
const SLOW_CLIENT_INTERVAL: Duration = Duration::from_millis(400);

type Stream = edge::Duplex;

/// Runs one server connection from its handshake to its end.
pub(crate) async fn run(servers: Servers, stream: Stream, connecting: ConnectingServer) {
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = MessageReader::new(read, servers.options().message_bytes_max);
    let mut requests = Vec::new();
    let handshake = match read_handshake(&servers, &mut reader, &mut requests).await {
        Ok(handshake) => handshake,
        Err(why) => return reject(&servers, &mut write, connecting, &why).await,
    };
    let name = connecting.name.clone();
    let Some(server) = servers.add_connection(connecting, &handshake) else {
        return reject_while_draining(&servers, &mut write).await;
    };
    server.send_queue.push(&Message::HandshakeResponse {
        error_message: Some(""),
        extensions: Extensions::default(),
        connection_id: Some(&name),
    });
    tracing::info!(hub = %server.hub, server = %server.server_id, connection = %name, kind = ?handshake.connection_type, "an app server has connected");
    // The connection is removed even after a panic: no client may be assigned to it then.
    let why = supervision::catch(read_and_write(&servers, &server, reader, write, requests)).await.unwrap_or_else(|panic| {
        tracing::error!(hub = %server.hub, server = %server.server_id, panic, "an app server's connection panicked; this is a defect");
        "a defect of the service".to_owned()
    });
    tracing::info!(hub = %server.hub, server = %server.server_id, connection = %name, why, "an app server's connection has ended");
    servers.remove_connection(&server).await;
}

/// Reads the handshake. Requests that arrive with it are added to `requests`.
async fn read_handshake(
    servers: &Servers,
    reader: &mut MessageReader<ReadHalf<Stream>>,
    requests: &mut Vec<ServerRequest>,
) -> Result<Handshake, String> {
    // Nothing is written before the handshake response; a pong for an earlier ping is dropped.
    let send_queue = SendQueue::new(usize::MAX);
    let limit = servers.options().handshake_timeout();
    let first = async {
        let mut handshake = None;
        while handshake.is_none() {
            // The timeout below applies to all reads.
            let read = reader.read(Duration::MAX, &send_queue, |message| match (&handshake, message) {
                (None, Ok(message)) => {
                    handshake =
                        Some(parse_handshake(&message, servers.instance(), servers.carries_clients()));
                }
                (None, Err(_)) => handshake = Some(Err(NO_HANDSHAKE.to_owned())),
                (Some(_), message) => {
                    requests.push(message.map_or_else(ServerRequest::Oversized, parse_request));
                }
            });
            read.await.map_err(|end| end.to_string())?;
        }
        handshake.expect("the loop ends with a handshake")
    };
    match timeout(limit, first).await {
        Ok(handshake) => handshake,
        Err(_) => Err(format!("no handshake within {} ms (servers.handshake_timeout_ms)", limit.as_millis())),
    }
}

/// Answers a handshake with an error and closes the connection.
async fn reject(servers: &Servers, write: &mut WriteHalf<Stream>, connecting: ConnectingServer, why: &str) {
    tracing::warn!(hub = %connecting.hub, server = %connecting.server_id, why, "the handshake of an app server was rejected");
    let mut response = Vec::new();
    Message::HandshakeResponse {
        error_message: Some(why),
        extensions: Extensions::default(),
        connection_id: None,
    }
    .encode(&mut response);
    let limit = servers.options().handshake_timeout();
    if write_messages(write, &response, limit).await.is_ok() {
        close(write, CloseCode::POLICY_VIOLATION, why, limit).await;
    }
}

async fn reject_while_draining(servers: &Servers, write: &mut WriteHalf<Stream>) {
    let limit = servers.options().handshake_timeout();
    close(write, CloseCode::GOING_AWAY, "the service is shutting down", limit).await;
}

/// Reads and writes until one of the two ends, and then waits for the other.
async fn read_and_write(
    servers: &Servers,
    server: &Arc<ServerConnection>,
    reader: MessageReader<ReadHalf<Stream>>,
    write: WriteHalf<Stream>,
    requests: Vec<ServerRequest>,
) -> String {
    let mut writing = JoinSet::new();
    writing.spawn(write_all(servers.clone(), Arc::clone(server), write));
    let reading = read_all(servers, server, reader, requests);
    tokio::pin!(reading);
    let end = tokio::select! {
        end = &mut reading => end,
        // Requests that were sent before are still executed, within the time-out.
        _ = writing.join_next() => match timeout(servers.options().close_timeout(), &mut reading).await {
            Ok(end) => end,
            Err(_) => ReadEnd::Closed,
        },
    };
    if end.is_violation() {
        let text = end.to_string();
        server.send_queue.push(&Message::ServiceError { error_message: Some(&text) });
    }
    if !server.send_queue.is_closed() {
        let reason = if end.is_violation() { end.to_string() } else { String::new() };
        server.end(end.close_code(), &reason);
    }
    // Bounds the time for an app server that does not read.
    let _ = timeout(servers.options().close_timeout(), writing.join_next()).await;
    writing.shutdown().await;
    end.to_string()
}

async fn read_all(
    servers: &Servers,
    server: &Arc<ServerConnection>,
    mut reader: MessageReader<ReadHalf<Stream>>,
    mut requests: Vec<ServerRequest>,
) -> ReadEnd {
    let read_timeout = servers.options().timeout();
    loop {
        servers.fault_point();
        for request in requests.drain(..) {
            if let Err(Stopped) = servers.execute(server, request).await {
                return ReadEnd::Closed;
            }
        }
        // Backpressure: an app server that does not read its messages sends no more requests.
        server.send_queue.wait_for_space().await;
        let mut count = 0;
        let read = reader.read(read_timeout, &server.send_queue, |message| {
            count += 1;
            requests.push(message.map_or_else(ServerRequest::Oversized, parse_request));
        });
        if let Err(end) = read.await {
            // Requests before the end are executed.
            for request in requests.drain(..) {
                if servers.execute(server, request).await.is_err() {
                    break;
                }
            }
            return end;
        }
        servers.metrics().received(count);
    }
}

async fn write_all(servers: Servers, server: Arc<ServerConnection>, mut write: WriteHalf<Stream>) {
    let options = servers.options();
    let (write_timeout, keep_alive) = (options.timeout(), options.keep_alive());
    let mut pings = interval(keep_alive);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is immediate, but the handshake response is sent now.
    pings.tick().await;
    let mut slow_client_ticks = interval(SLOW_CLIENT_INTERVAL);
    slow_client_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let result = loop {
        let batch = tokio::select! {
            batch = server.send_queue.next() => batch,
            _ = pings.tick() => {
                server.send_queue.push(&Message::Ping { messages: Vec::new() });
                continue;
            }
            _ = slow_client_ticks.tick(), if server.has_slow_clients() => {
                for id in server.slow_clients() {
                    if let Some(client) = servers.client(&server.hub, id) {
                        client.allow_one_message(&server);
                    }
                }
                continue;
            }
        };
        let Some(WriteBatch { pong, messages }) = batch else { break Ok(()) };
        if let Some(pong) = pong
            && let Err(error) = write_within(&mut write, &pong, write_timeout).await
        {
            break Err(error);
        }
        if let Err(error) = write_messages(&mut write, &messages, write_timeout).await {
            break Err(error);
        }
        servers.metrics().sent(messages.len());
        for client in server.send_queue.written() {
            servers.engine().resume(client).await;
        }
    };
    match result {
        Ok(()) => {
            let (code, reason) = server.close_reason();
            close(&mut write, code, &reason, options.close_timeout()).await;
        }
        Err(error) => {
            tracing::debug!(server = %server.server_id, %error, "writing to an app server failed");
            server.send_queue.close();
        }
    }
}

async fn close<W: AsyncWrite + Unpin>(write: &mut W, code: CloseCode, reason: &str, limit: Duration) {
    // The connection ends even if this fails.
    let _ = write_within(write, &close_frame(code, reason), limit).await;
    let _ = timeout(limit, write.shutdown()).await;
}
