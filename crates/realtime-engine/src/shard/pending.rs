//! What waits to be written to a client: [`Frame`]s in a [`Run`] until the end of the turn, then what its transport did not take at
//! once in a [`Backlog`].

mod backlog;
mod frame;
mod run;

pub(crate) use self::backlog::Backlog;
pub(crate) use self::frame::{Class, Frame, Piece};
pub(crate) use self::run::{Run, Step};
