//! Pending output of a client: [`Frame`]s in a [`FrameList`] until the end of the turn, then what its transport has not accepted
//! in a [`Backlog`].

mod backlog;
mod frame;
mod frame_list;

pub(crate) use self::backlog::Backlog;
pub(crate) use self::frame::{Class, Frame, PendingFrame};
pub(crate) use self::frame_list::{FrameAppender, FrameList};
