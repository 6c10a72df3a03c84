//! A real store, and listeners, methods and clients that follow a script.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use identity::{AccessKey, KeySet};
use signalr_protocol::HubProtocol;
use state::{Durability, Instance, Key, KeyEntry, Registry, RegistryError, Version, Watch};
use state_embedded::Store;
use tokio::sync::mpsc;

use super::super::*;
use crate::events::{
    self, ConnectionChange, ConnectionEvent, ConnectionListener, DeadLetters, EventKind, ProcessRun, Records,
};
use crate::upstream::clients::Clients;
use crate::upstream::dispatcher::{Dependencies, Dispatcher, Join};
use crate::upstream::methods::Methods;
use crate::upstream::{Metrics, Options, Sender};
use realtime_engine::{ClientConnection, EndReason, HandshakeDecision, Hub, NodeId, Upstream};

pub(super) const DOWN: &str = "down";

/// A listener that reports each delivery, and returns the result that the test sets.
pub(super) struct Listener {
    pub(super) name: &'static str,
    pub(super) heard: mpsc::UnboundedSender<String>,
    pub(super) is_up: AtomicBool,
    /// The number of first deliveries that panic.
    pub(super) panics: Mutex<u32>,
}

#[async_trait::async_trait]
impl ConnectionListener for Listener {
    fn name(&self) -> &'static str {
        self.name
    }

    fn subscribes_to(&self, hub: &Hub, _: EventKind) -> bool {
        hub.name() == "chat"
    }

    async fn deliver(&self, event: &ConnectionEvent) -> Result<(), DeliveryError> {
        {
            let mut panics = self.panics.lock().unwrap();
            if *panics > 0 {
                *panics -= 1;
                drop(panics);
                panic!("a listener that fails");
            }
        }
        let what = match &event.change {
            ConnectionChange::Connected => "connected".to_owned(),
            ConnectionChange::Disconnected { reason, error } => {
                let error = error.as_deref().map(|error| format!(" ({error})")).unwrap_or_default();
                format!("disconnected {reason}{error}")
            }
        };
        let up = self.is_up.load(Ordering::SeqCst);
        let state = if up { "" } else { ", in vain" };
        let user = event.client.user.as_ref().map(|user| format!(" {user}")).unwrap_or_default();
        self.heard.send(format!("{}: {what}{user}{state}", self.name)).unwrap();
        if up { Ok(()) } else { Err(DeliveryError { cause: DOWN.to_owned(), retry: Retry::Later }) }
    }
}

/// Clients that record what they receive.
pub(super) struct Told(mpsc::UnboundedSender<String>);

#[async_trait::async_trait]
impl Clients for Told {
    async fn reply(&self, _: &ClientConnection, framed: Bytes) {
        self.0.send(String::from_utf8_lossy(&framed).replace('\u{1e}', "")).unwrap();
    }

    async fn send_in_stream(
        &self,
        _: &ClientConnection,
        stream: &str,
        framed: Vec<Bytes>,
        is_end: bool,
        _: Duration,
    ) -> bool {
        for framed in framed {
            let shown = String::from_utf8_lossy(&framed).replace('\u{1e}', "");
            let end = if is_end { ", its end" } else { "" };
            self.0.send(format!("stream {stream}: {shown}{end}")).unwrap();
        }
        !is_end
    }

    async fn resume(&self, connection: ConnectionId) {
        self.0.send(format!("resume {connection}")).unwrap();
    }

    async fn opened(&self, _: ConnectionId, result: Result<(), String>) {
        self.0.send(format!("opened {result:?}")).unwrap();
    }
}

/// Returns each message with its type and id.
pub(super) struct Echo;

#[async_trait::async_trait]
impl Methods for Echo {
    async fn call(&self, method: &str, invocation: ClientInvocation) -> Option<Bytes> {
        let id = invocation.invocation_id.unwrap_or_default();
        Some(format!("type {} of {method}, id {id}", invocation.message_type).into())
    }
}

/// A registry that may be full.
pub(super) struct Disk {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) is_full: AtomicBool,
    /// How many keys were removed.
    pub(super) removed: tokio::sync::watch::Sender<u32>,
}

#[async_trait::async_trait]
impl Registry for Disk {
    async fn get(&self, instance: &Instance, key: &Key) -> Result<Option<KeyEntry>, RegistryError> {
        self.registry.get(instance, key).await
    }

    async fn put(
        &self,
        instance: &Instance,
        key: &Key,
        value: Bytes,
        expect: state::Expect,
        durability: Durability,
        ttl: Option<Duration>,
    ) -> Result<Version, RegistryError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(RegistryError::Backend("no space left".into()));
        }
        self.registry.put(instance, key, value, expect, durability, ttl).await
    }

    async fn delete(
        &self,
        instance: &Instance,
        key: &Key,
        expect: state::Expect,
    ) -> Result<bool, RegistryError> {
        let result = self.registry.delete(instance, key, expect).await;
        self.removed.send_modify(|removed| *removed += 1);
        result
    }

    async fn list(
        &self,
        instance: &Instance,
        prefix: &str,
        after: Option<&Key>,
        keys_max: usize,
    ) -> Result<Vec<KeyEntry>, RegistryError> {
        self.registry.list(instance, prefix, after, keys_max).await
    }

    async fn watch(&self, instance: &Instance, prefix: &str) -> Result<Box<dyn Watch>, RegistryError> {
        self.registry.watch(instance, prefix).await
    }
}

/// One process on a store; several follow each other.
pub(super) struct Process {
    pub(super) dispatcher: Dispatcher,
    pub(super) running: Join,
    pub(super) store: Store,
    pub(super) disk: Arc<Disk>,
    pub(super) listeners: Vec<Arc<Listener>>,
    pub(super) heard: mpsc::UnboundedReceiver<String>,
    pub(super) told: mpsc::UnboundedReceiver<String>,
}

pub(super) fn instance() -> Instance {
    Instance::new("test").unwrap()
}

pub(super) fn client(number: u8, hub: &str) -> ClientConnection {
    let id = String::from_utf8(vec![b'B' + number; 26]).unwrap() + "A";
    ClientConnection {
        id: ConnectionId::parse(&id).unwrap(),
        hub: Hub::new(instance(), hub),
        user: Some(realtime_engine::UserId::new(&format!("user {number}"))),
        protocol: HubProtocol::Json,
        client_context: None,
    }
}

/// Settings of a test.
#[derive(Clone, Default)]
pub(super) struct Setup {
    pub(super) options: Options,
    pub(super) events: events::Options,
    pub(super) listeners: usize,
    pub(super) lives: u64,
}

impl Setup {
    pub(super) fn new() -> Self {
        let events = events::Options {
            attempts_max: 3.try_into().unwrap(),
            backoff_first_ms: 1.try_into().unwrap(),
            backoff_max_ms: 2.try_into().unwrap(),
            ..events::Options::default()
        };
        Self { options: Options::default(), events, listeners: 1, lives: 1 }
    }

    pub(super) async fn start(&self, folder: &Path, is_up: bool) -> Process {
        let store = Store::open(folder, &state_embedded::Options::default()).unwrap();
        let (registry, is_full) = (store.registry(), AtomicBool::new(false));
        let disk = Arc::new(Disk { registry, is_full, removed: tokio::sync::watch::Sender::new(0) });
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = Metrics::register(&mut registry);
        let keys = Arc::new(KeySet::single(AccessKey::new("key").unwrap()));
        let keys = crate::upstream::KeySource::new(move || Arc::clone(&keys));
        let counts = egress::Metrics::default();
        let egress = egress::Client::new(&egress::Options::default(), &counts).unwrap();
        let tracer = trace::Tracer::new(10);
        let templates = crate::upstream::template::UpstreamTemplates::default();
        let sender = Sender::new(&self.options, templates, keys, egress, tracer, metrics.clone());
        let ((hear, heard), (tell, told)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let listener = |name| Listener {
            name,
            heard: hear.clone(),
            is_up: AtomicBool::new(is_up),
            panics: Mutex::new(0),
        };
        let listeners: Vec<_> = ["first", "second"]
            .into_iter()
            .take(self.listeners)
            .map(|name| Arc::new(listener(name)))
            .collect();
        let shared: Arc<dyn Registry> = disk.clone();
        let dispatcher = Dispatcher::new(Dependencies {
            sender,
            listeners: listeners.iter().map(|one| Arc::clone(one) as Arc<dyn ConnectionListener>).collect(),
            records: Records::new(shared, instance(), NodeId(0), ProcessRun(self.lives)),
            dead_letters: DeadLetters::new(store.journal(), instance(), &self.events),
            options: self.options.clone(),
            event_options: self.events.clone(),
            metrics,
        });
        let running = dispatcher
            .run(Arc::new(Told(tell)), Some(Arc::new(Echo)), &supervision::Supervisor::default())
            .await
            .unwrap();
        Process { dispatcher, running, store, disk, listeners, heard, told }
    }
}

impl Process {
    pub(super) async fn heard(&mut self) -> String {
        let heard = tokio::time::timeout(Duration::from_secs(20), self.heard.recv()).await;
        heard.expect("a delivery within the time limit").unwrap()
    }

    pub(super) async fn told(&mut self) -> String {
        let told = tokio::time::timeout(Duration::from_secs(20), self.told.recv()).await;
        told.expect("a message to a client within the time limit").unwrap()
    }

    /// Waits until `count` records were removed, and checks that none is left.
    pub(super) async fn forgotten(&self, count: u32) {
        let mut removed = self.disk.removed.subscribe();
        let all = removed.wait_for(|removed| *removed >= count);
        tokio::time::timeout(Duration::from_secs(20), all)
            .await
            .expect("records are removed within the time limit")
            .unwrap();
        let left = self.disk.list(&instance(), "realtime/", None, 10).await.unwrap();
        assert_eq!(left, []);
    }

    pub(super) async fn connect(&mut self, client: &ClientConnection) {
        assert_eq!(self.dispatcher.connecting(client), HandshakeDecision::Wait);
        assert_eq!(self.told().await, "opened Ok(())");
        self.dispatcher.connected(client);
    }

    pub(super) fn disconnect(&self, client: &ClientConnection) {
        self.dispatcher.disconnected(client, EndReason::ClientClosed, None);
    }

    pub(super) fn set_up(&self, is_up: bool) {
        for listener in &self.listeners {
            listener.is_up.store(is_up, Ordering::SeqCst);
        }
    }

    pub(super) fn call(&self, client: &ClientConnection, message: &str) -> Result<(), String> {
        let value: serde_json::Value = serde_json::from_str(message).unwrap();
        let text = |name: &str| value[name].as_str().map(Into::into);
        let invocation = ClientInvocation {
            client: client.clone(),
            roles: None,
            message_type: u8::try_from(value["type"].as_u64().unwrap()).unwrap(),
            invocation_id: text("invocationId"),
            target: text("target"),
            payload: Bytes::copy_from_slice(message.as_bytes()),
        };
        self.dispatcher.invoke(invocation).map(drop).map_err(|refusal| refusal.0)
    }

    pub(super) async fn dead_letters(&self) -> String {
        let page = self.dispatcher.dead_letters().page(None, 100, SystemTime::now()).await.unwrap();
        let show = |letter: &events::DeadLetter| {
            let (listener, event, reason) = (&letter.listener, &letter.event, letter.reason.as_deref());
            format!("{listener} {event} {} {} {}\n", reason.unwrap_or("-"), letter.attempts, letter.cause)
        };
        page.letters.iter().map(show).collect()
    }

    /// Aborts the process, as `kill -9` does.
    pub(super) async fn kill(self) {
        self.running.abort();
        self.store.close().await;
    }

    pub(super) async fn stop(self) {
        self.running.drain(Duration::from_secs(20)).await;
        self.store.close().await;
    }
}
