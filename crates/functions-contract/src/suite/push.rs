//! The contract suite of [`PushTrigger`] and [`PushExtension`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::{
    PushError, PushEvent, PushExtension, PushFunction, PushRequest, PushResponse, PushTrigger, Value,
};

/// The longest wait for a response that must come.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A trigger with pushed events under test.
#[async_trait::async_trait]
pub trait PushFactory: Send + Sync {
    /// The extension.
    fn extension(&self) -> Arc<dyn PushExtension>;

    /// Creates the trigger.
    async fn trigger(&self) -> Arc<dyn PushTrigger>;

    /// A valid request with one event that contains this number.
    fn request(&self, number: u64) -> PushRequest;

    /// Requests that must reach no function although their address is that of the trigger, such as one with a wrong signature.
    fn refused(&self) -> Vec<PushRequest>;

    /// A request with the address of no function.
    fn unknown(&self) -> PushRequest;

    /// The number in an event.
    fn number(&self, event: &PushEvent) -> u64;

    /// What the sender reads from the response: the number that the function returned (`None` where the protocol has no place for
    /// it), or that the event failed.
    fn outcome(&self, response: &PushResponse) -> PushOutcome;
}

/// What a response tells the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// The function succeeded, with this number if the protocol has results.
    Succeeded(Option<u64>),
    /// The function or the host failed.
    Failed,
    /// The sender may repeat the event.
    Temporary,
}

/// What the scripted function does with an event.
#[derive(Clone, Copy, Debug)]
enum Script {
    /// It returns the number of the event.
    Return,
    Fail,
    HostFail,
    Overload,
    Unavailable,
    /// It does not end.
    Hang,
}

struct Scripted<'a> {
    factory: &'a dyn PushFactory,
    script: Script,
    seen: Mutex<Vec<u64>>,
    invoked: Notify,
    /// Resolves its receiver when the future of a hanging invocation is dropped.
    dropped: Mutex<Option<oneshot::Sender<()>>>,
}

#[async_trait::async_trait]
impl PushFunction for Scripted<'_> {
    fn name(&self) -> &str {
        "scripted"
    }

    async fn invoke(&self, event: PushEvent) -> Result<Value, PushError> {
        let number = self.factory.number(&event);
        assert!(!event.reason.is_empty(), "an event has a reason");
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        self.invoked.notify_one();
        match self.script {
            Script::Return => Ok(Value::Integer(i64::try_from(number).expect("a small number"))),
            Script::Fail => Err(PushError::Function { message: "the function failed".to_owned() }),
            Script::HostFail => Err(PushError::Host("an output failed".to_owned())),
            Script::Overload => Err(PushError::Overloaded),
            Script::Unavailable => Err(PushError::Unavailable("the worker is gone".to_owned())),
            Script::Hang => {
                let _guard = self.dropped.lock().unwrap_or_else(PoisonError::into_inner).take();
                std::future::pending().await
            }
        }
    }
}

impl<'a> Scripted<'a> {
    fn new(factory: &'a dyn PushFactory, script: Script) -> Self {
        let (seen, invoked, dropped) = (Mutex::default(), Notify::new(), Mutex::default());
        Self { factory, script, seen, invoked, dropped }
    }

    fn seen(&self) -> Vec<u64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Checks the guarantees of [`PushTrigger`], and that its extension finds it.
pub async fn check_push(factory: &dyn PushFactory) {
    let trigger = factory.trigger().await;
    addresses(factory, &*trigger);
    one_response(factory, &*trigger).await;
    verified(factory, &*trigger).await;
    errors_are_mapped(factory, &*trigger).await;
    cancellation(factory, &*trigger).await;
}

async fn receive(trigger: &dyn PushTrigger, request: PushRequest, function: &Scripted<'_>) -> PushResponse {
    let response = timeout(WAIT_MAX, trigger.receive(request, function)).await;
    response.unwrap_or_else(|_| panic!("no response came within {WAIT_MAX:?}"))
}

fn addresses(factory: &dyn PushFactory, trigger: &dyn PushTrigger) {
    let extension = factory.extension();
    let name = extension.name();
    assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()), "a name in lower case");
    let addresses = trigger.addresses();
    assert!(!addresses.is_empty(), "a trigger has an address");
    for number in [1, 1, 2] {
        let found = extension.address(&factory.request(number));
        let found = found.unwrap_or_else(|response| panic!("a valid request has an address: {response:?}"));
        assert!(addresses.contains(&found), "{found:?} is an address of the trigger: {addresses:?}");
    }
    let unknown = factory.unknown();
    let response = match extension.address(&unknown) {
        Ok(address) => {
            assert!(!addresses.contains(&address), "{address:?} is not an address of the trigger");
            extension.not_found(&unknown)
        }
        Err(response) => *response,
    };
    assert!(response.status().is_client_error(), "nobody waits for the event: {response:?}");
}

async fn one_response(factory: &dyn PushFactory, trigger: &dyn PushTrigger) {
    let function = Scripted::new(factory, Script::Return);
    for number in 10..14 {
        let response = receive(trigger, factory.request(number), &function).await;
        let outcome = factory.outcome(&response);
        let has_result = outcome == PushOutcome::Succeeded(Some(number));
        assert!(
            has_result || outcome == PushOutcome::Succeeded(None),
            "1 (one response): {number} has {outcome:?}: {response:?}"
        );
    }
    assert_eq!(function.seen(), [10, 11, 12, 13], "1 (one response): each event reaches the function once");
}

async fn verified(factory: &dyn PushFactory, trigger: &dyn PushTrigger) {
    let function = Scripted::new(factory, Script::Return);
    for request in factory.refused() {
        let response = receive(trigger, request, &function).await;
        assert_ne!(
            response.status(),
            StatusCode::OK,
            "2 (verified): a request that cannot be verified is refused: {response:?}"
        );
        assert_eq!(function.seen(), Vec::<u64>::new(), "2 (verified): it reaches no function");
    }
}

async fn errors_are_mapped(factory: &dyn PushFactory, trigger: &dyn PushTrigger) {
    for (script, expected) in [
        (Script::Fail, PushOutcome::Failed),
        (Script::HostFail, PushOutcome::Failed),
        (Script::Overload, PushOutcome::Temporary),
        (Script::Unavailable, PushOutcome::Temporary),
    ] {
        let function = Scripted::new(factory, script);
        let response = receive(trigger, factory.request(20), &function).await;
        let outcome = factory.outcome(&response);
        assert_eq!(outcome, expected, "3 (errors are mapped): {script:?}: {response:?}");
        assert_eq!(function.seen(), [20], "3 (errors are mapped): the trigger does not retry");
    }
}

async fn cancellation(factory: &dyn PushFactory, trigger: &dyn PushTrigger) {
    let function = Scripted::new(factory, Script::Hang);
    let (sender, dropped) = oneshot::channel();
    *function.dropped.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    {
        let call = trigger.receive(factory.request(30), &function);
        tokio::select! {
            response = call => panic!("4 (cancellation): the function has not ended: {response:?}"),
            () = function.invoked.notified() => {}
        }
    }
    let ended = timeout(WAIT_MAX, dropped).await;
    assert!(matches!(ended, Ok(Err(_))), "4 (cancellation): the future of the function is dropped");
}
