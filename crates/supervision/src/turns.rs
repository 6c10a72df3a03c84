//! [`Turns`]: the work of a thread, cut into turns, so that the same code runs in a thread of its own and, turn by turn, in a
//! simulation that has only one thread.

use crate::unit::Unit;
use crate::wait::{TurnOutcome, Wait};

/// Work that goes on for as long as the process runs.
pub trait Turns: 'static {
    /// Does what there is to do now. Where there is nothing, waits for it as long as `wait` allows.
    fn turn(&mut self, unit: &Unit, wait: Wait) -> TurnOutcome;
}
