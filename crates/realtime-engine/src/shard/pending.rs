//! Pending output of a client: [`Frame`]s in a [`Run`] until the end of the turn, then in a [`Backlog`] what its transport has not accepted.

mod backlog;
mod frame;
mod run;

pub(crate) use self::backlog::Backlog;
pub(crate) use self::frame::{Class, Frame, Piece};
pub(crate) use self::run::{Run, Step};
