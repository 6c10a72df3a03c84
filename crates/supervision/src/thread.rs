//! [`Thread`]: a supervised thread, for its owner; and how its work is run.

use std::io;
use std::thread::{self, JoinHandle};

#[cfg(feature = "simulation")]
use crate::simulation;
use crate::wait::{TurnOutcome, Wait};

/// A supervised thread.
#[derive(Debug)]
pub struct Thread(Inner);

#[derive(Debug)]
enum Inner {
    Own(JoinHandle<()>),
    #[cfg(feature = "simulation")]
    Simulated(simulation::Number),
}

/// By what the work of supervised threads is run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Threads {
    /// By threads of the operating system.
    #[default]
    Own,
    /// By calls of [`simulation::turn`].
    #[cfg(feature = "simulation")]
    Simulated,
}

impl Threads {
    /// Starts a thread that calls what `make` makes until it answers false.
    pub(crate) fn start<F: FnMut(Wait) -> TurnOutcome + 'static>(
        self,
        builder: thread::Builder,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Thread> {
        let inner = match self {
            Self::Own => Inner::Own(builder.spawn(move || {
                let mut turn = make();
                while turn(Wait::ForWork) != TurnOutcome::Ended {}
            })?),
            #[cfg(feature = "simulation")]
            Self::Simulated => Inner::Simulated(simulation::add(Box::new(make()))),
        };
        Ok(Thread(inner))
    }
}

impl Thread {
    /// Waits until the thread has ended.
    ///
    /// # Errors
    ///
    /// If it panicked outside of what is supervised.
    pub fn join(self) -> thread::Result<()> {
        match self.0 {
            Inner::Own(thread) => thread.join(),
            #[cfg(feature = "simulation")]
            Inner::Simulated(number) => {
                simulation::join(number);
                Ok(())
            }
        }
    }
}
