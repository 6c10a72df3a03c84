//! Supervised threads without threads: their work is run turn by turn, by a simulation with one thread. Compiled only with the
//! feature `simulation`.

use std::cell::{Cell, RefCell};

use crate::wait::{TurnOutcome, Wait};

/// Turns that one join may take: work that has not ended by then never does.
const JOIN_TURNS_MAX: usize = 100_000;

/// Names the work among that of this simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(usize);

type Work = Box<dyn FnMut(Wait) -> TurnOutcome>;

thread_local! {
    /// What is to be run; empty where it has ended or is being run.
    static WORK: RefCell<Vec<Option<Work>>> = const { RefCell::new(Vec::new()) };
    static MUTATION: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Puts a fault into the product, as far as this thread runs it; see [`is_mutated`](crate::is_mutated).
pub fn mutate(fault: Option<&'static str>) {
    MUTATION.set(fault);
}

pub(crate) fn mutation() -> Option<&'static str> {
    MUTATION.get()
}

pub(crate) fn add(work: Work) -> Number {
    WORK.with_borrow_mut(|all| {
        all.push(Some(work));
        Number(all.len() - 1)
    })
}

/// How many threads were started in the simulation of this thread since [`forget`].
pub fn threads() -> usize {
    WORK.with_borrow(Vec::len)
}

/// Whether a thread has ended.
pub fn has_ended(number: usize) -> bool {
    WORK.with_borrow(|all| all.get(number).is_none_or(Option::is_none))
}

/// Runs one turn of a thread, by the order in which they were started.
pub fn turn(number: usize) -> TurnOutcome {
    let work = WORK.with_borrow_mut(|all| all.get_mut(number).and_then(Option::take));
    let Some(mut work) = work else { return TurnOutcome::Ended };
    let turned = work(Wait::Never);
    if turned != TurnOutcome::Ended {
        WORK.with_borrow_mut(|all| {
            // It may have been forgotten by what it did itself.
            if let Some(place) = all.get_mut(number) {
                *place = Some(work);
            }
        });
    }
    turned
}

/// Runs a thread to its end.
pub(crate) fn join(number: Number) {
    for _ in 0..JOIN_TURNS_MAX {
        if turn(number.0) == TurnOutcome::Ended {
            return;
        }
    }
    panic!("a simulated thread was joined and does not end");
}

/// Drops all threads where they stand, as the end of a process does.
pub fn forget() {
    drop(WORK.take());
}
