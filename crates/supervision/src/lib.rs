//! Who runs in this process, and whether it works.
//!
//! A [`Supervisor`] is told of every thread and task that is to run as long as the process does. When one ends although nobody
//! asked the process to end, the supervisor logs and counts it, and either runs it again or declares that the process
//! [has failed](Supervisor::failed), so that the binary ends and its own supervisor starts it again. It also keeps the list of
//! [`Component`]s: named parts that say themselves whether they are ready, and if not, why. `/readyz` is that list.
//!
//! Not its concern: tasks that serve one request or one connection. Whoever spawns those owns them, and their end harms nobody
//! else.
//!
//! Know these first: [`Supervisor`], [`Component`], [`Failure`], [`Turns`] (the work of a thread, cut into turns). Start reading at `supervisor.rs`.

mod catch;
mod component;
mod metrics;
mod mutation;
mod restart;
#[cfg(feature = "simulation")]
pub mod simulation;
mod supervisor;
#[cfg(feature = "testing")]
mod testing;
mod thread;
mod turns;
mod unit;
mod wait;

pub use catch::catch;
pub use component::{Component, NotReady};
pub use mutation::is_mutated;
pub use supervisor::{Failure, Supervisor};
pub use thread::Thread;
pub use turns::Turns;
pub use unit::Unit;
pub use wait::{TurnOutcome, Wait};
