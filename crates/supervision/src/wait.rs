//! How long a turn of a thread may wait, and what came of it.

use std::time::Instant;

/// How long a turn may wait for something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until there is something: in a thread of its own.
    ForWork,
    /// Does not wait: in a simulation.
    Never,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnOutcome {
    /// Something was done.
    Worked,
    /// There was nothing to do.
    Idle,
    /// The work is over; there is no further turn.
    Ended,
}

impl Wait {
    /// The earlier of `deadline` and the end of this wait.
    pub fn until(self, deadline: Option<Instant>) -> Option<Instant> {
        match self {
            Self::ForWork => deadline,
            Self::Never => Some(Instant::now()),
        }
    }
}
