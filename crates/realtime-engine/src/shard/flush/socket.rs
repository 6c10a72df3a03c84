//! Delivery by a WebSocket. Frames are pending in a frame list until the end of the turn; what the socket does not accept then is
//! in a backlog until the socket is writable. While there is a backlog there is no frame list.

use std::io::{self, IoSlice};
use std::rc::Rc;

use super::room::{Account, Appended, make_room};
use crate::shard::index::HubPolicy;
use crate::shard::pending::{Backlog, FrameAppender, FrameList};

/// Frame lists up to this size are joined into one buffer; above it, copying costs more than vectored writes.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// The destination of writes.
pub(super) trait Writer {
    /// Writes as much of one buffer as is accepted at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Writes as much of several buffers as is accepted at once, in one system call.
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

impl Writer for edge::Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(slices)
    }
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything was written.
    Written,
    /// The socket would block.
    Blocked,
    /// The socket is broken.
    Lost,
}

/// The result of one or more writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) outcome: Outcome,
    /// System calls.
    pub(super) writes: u64,
    /// Bytes that were written.
    pub(super) bytes: usize,
    /// Frames that were written completely.
    pub(super) frames: u64,
    /// Whether a hub message was written, so that no ping is needed.
    pub(super) has_hub_message: bool,
}

/// Appends a frame.
#[inline]
pub(super) fn append(
    frame_list: &mut Option<Rc<FrameList>>,
    backlog: Option<&mut Backlog>,
    appender: &mut FrameAppender,
    policy: HubPolicy,
    account: &mut Account<'_>,
) -> Appended {
    let bytes = appender.frame().len();
    if let Some(backlog) = backlog {
        let (freed, dropped) = make_room(backlog, appender.frame(), policy);
        *account.pending_bytes -= freed as u64;
        *account.dropped += dropped;
        if backlog.policed_bytes() + bytes > policy.pending_bytes_max {
            return Appended::NoRoom;
        }
        backlog.push(appender.frame().pending_frame());
        *account.pending_bytes += bytes as u64;
        return Appended::Waits;
    }
    let waiting = frame_list.as_ref().map_or(0, |frame_list| frame_list.bytes());
    if waiting > 0 && waiting + bytes > policy.pending_bytes_max {
        return Appended::FlushFirst;
    }
    *frame_list = Some(appender.after(frame_list.as_ref()));
    Appended::Waits
}

/// Whether a frame list is written in slices, like a backlog, instead of joined.
pub(super) fn is_long(frame_list: &FrameList) -> bool {
    frame_list.bytes() > JOINED_BYTES_MAX && frame_list.frames() > 1
}

/// Writes a short frame list in one call. Returns the rest as a backlog.
pub(super) fn write_frame_list(
    socket: &mut impl Writer,
    frame_list: &FrameList,
) -> (Report, Option<Backlog>) {
    let report = |outcome, bytes, frames| Report {
        outcome,
        writes: 1,
        bytes,
        frames,
        has_hub_message: frame_list.has_hub_message(),
    };
    let written = match socket.write(frame_list.joined()) {
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(_) => return (Report { has_hub_message: false, ..report(Outcome::Lost, 0, 0) }, None),
    };
    if written < frame_list.bytes() {
        return (report(Outcome::Blocked, written, 0), Some(Backlog::rest_of(frame_list, written)));
    }
    (report(Outcome::Written, written, u64::from(frame_list.frames())), None)
}

/// Writes a backlog until it is empty or the socket would block.
pub(super) fn write_backlog(socket: &mut impl Writer, backlog: &mut Backlog) -> Report {
    let mut report =
        Report { outcome: Outcome::Written, writes: 0, bytes: 0, frames: 0, has_hub_message: false };
    while !backlog.is_empty() {
        report.writes += 1;
        let has_hub_message = backlog.has_hub_message();
        match socket.write_vectored(&backlog.slices()) {
            Ok(written) => {
                report.bytes += written;
                report.frames += backlog.advance(written);
                report.has_hub_message |= has_hub_message;
            }
            Err(error) => {
                let is_blocked = error.kind() == io::ErrorKind::WouldBlock;
                report.outcome = if is_blocked { Outcome::Blocked } else { Outcome::Lost };
                break;
            }
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::Bytes;

    use super::*;
    use crate::SlowConsumer;
    use crate::shard::pending::{Class, Frame};

    /// Accepts the number of bytes that its script says, would block, or fails.
    #[derive(Default)]
    struct Script {
        takes: VecDeque<WriteStep>,
        taken: Vec<u8>,
    }

    #[derive(Clone, Copy, Debug)]
    enum WriteStep {
        Bytes(usize),
        Block,
        Break,
    }
    use WriteStep::{Block, Break};

    impl Script {
        fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.takes.pop_front().expect("the script has a line for each write") {
                WriteStep::Bytes(most) => {
                    let length = most.min(bytes.len());
                    self.taken.extend_from_slice(&bytes[..length]);
                    Ok(length)
                }
                Block => Err(io::ErrorKind::WouldBlock.into()),
                Break => Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    impl Writer for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.take(bytes)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.take(&slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>())
        }
    }

    const ALL: WriteStep = WriteStep::Bytes(usize::MAX);

    fn frame(text: &str, class: Class) -> Frame {
        Frame::new(Bytes::copy_from_slice(text.as_bytes()), class, 0)
    }

    fn frame_list_of(texts: &[&str]) -> Rc<FrameList> {
        let appender = |frame_list: Option<Rc<FrameList>>, text: &&str| {
            Some(FrameAppender::new(frame(text, Class::Required)).after(frame_list.as_ref()))
        };
        texts.iter().fold(None, appender).expect("a test has frames")
    }

    fn policy(pending_bytes_max: usize, slow_consumer: SlowConsumer) -> HubPolicy {
        HubPolicy { pending_bytes_max, slow_consumer, idle_timeout_ms: None }
    }

    /// Name, what the socket accepts of the frames `ab`, `cd`, `ef` (6 bytes), the report (outcome, writes, bytes, frames), and
    /// what is left.
    type WriteCase = (&'static str, &'static [WriteStep], (Outcome, u64, usize, u64), &'static str);

    #[rustfmt::skip]
    const RUNS: &[WriteCase] = &[
        ("everything is accepted", &[ALL], (Outcome::Written, 1, 6, 3), ""),
        ("a part is accepted: the rest is pending, and frames count when complete", &[WriteStep::Bytes(3)], (Outcome::Blocked, 1, 3, 0), "def"),
        ("nothing is accepted: everything is pending", &[Block], (Outcome::Blocked, 1, 0, 0), "abcdef"),
        ("the socket is broken: nothing is pending", &[Break], (Outcome::Lost, 1, 0, 0), ""),
    ];

    #[rustfmt::skip]
    const BACKLOGS: &[WriteCase] = &[
        ("everything is accepted in one write", &[ALL], (Outcome::Written, 1, 6, 3), ""),
        ("writes continue until the socket blocks", &[WriteStep::Bytes(3), WriteStep::Bytes(2), Block], (Outcome::Blocked, 3, 5, 2), "f"),
        ("short writes continue to the end", &[WriteStep::Bytes(5), ALL], (Outcome::Written, 2, 6, 3), ""),
        ("nothing is accepted", &[Block], (Outcome::Blocked, 1, 0, 0), "abcdef"),
        ("the socket breaks after a part", &[WriteStep::Bytes(2), Break], (Outcome::Lost, 2, 2, 1), "cdef"),
    ];

    fn rest(backlog: Option<Backlog>) -> String {
        let pending_frames = backlog.map(Backlog::into_bytes).unwrap_or_default();
        String::from_utf8(pending_frames.concat()).expect("frames of tests are text")
    }

    #[test]
    fn a_frame_list_is_written_as_in_the_table() {
        for (name, takes, (outcome, writes, bytes, frames), left) in RUNS {
            let mut script = Script { takes: takes.iter().copied().collect(), ..Script::default() };
            let (report, backlog) = write_frame_list(&mut script, &frame_list_of(&["ab", "cd", "ef"]));
            let expected = (*outcome, *writes, *bytes, *frames);
            assert_eq!((report.outcome, report.writes, report.bytes, report.frames), expected, "{name}");
            assert_eq!(report.has_hub_message, *outcome != Outcome::Lost, "{name}");
            assert_eq!(script.taken, "abcdef".as_bytes()[..*bytes], "{name}");
            assert_eq!(rest(backlog), *left, "{name}");
        }
    }

    #[test]
    fn a_backlog_is_written_as_in_the_table() {
        for (name, takes, (outcome, writes, bytes, frames), left) in BACKLOGS {
            let mut script = Script { takes: takes.iter().copied().collect(), ..Script::default() };
            let mut backlog = Backlog::rest_of(&frame_list_of(&["ab", "cd", "ef"]), 0);
            let report = write_backlog(&mut script, &mut backlog);
            let expected = (*outcome, *writes, *bytes, *frames);
            assert_eq!((report.outcome, report.writes, report.bytes, report.frames), expected, "{name}");
            assert_eq!(report.has_hub_message, *bytes > 0, "{name}");
            assert_eq!(script.taken, "abcdef".as_bytes()[..*bytes], "{name}");
            assert_eq!(rest(Some(backlog)), *left, "{name}");
        }
    }

    /// Name, frames in the list, invocations in the backlog (`None`: no backlog), limit of pending bytes, the policy, the new
    /// frame, and the result: the outcome, the pending frames, and how many invocations were dropped.
    type AppendCase = (
        &'static str,
        &'static [&'static str],
        Option<&'static [&'static str]>,
        usize,
        SlowConsumer,
        &'static str,
        (Appended, &'static str, u64),
    );

    #[rustfmt::skip]
    const APPENDS: &[AppendCase] = &[
        ("nothing is pending: one frame always fits", &[], None, 3, SlowConsumer::Disconnect, "abcdef", (Appended::Waits, "abcdef", 0)),
        ("a frame that fits is appended to the list", &["ab"], None, 4, SlowConsumer::Disconnect, "cd", (Appended::Waits, "abcd", 0)),
        ("a list without space is written first", &["ab"], None, 3, SlowConsumer::Disconnect, "cd", (Appended::FlushFirst, "ab", 0)),
        ("a frame that fits is appended to the backlog", &[], Some(&["ab"]), 4, SlowConsumer::Disconnect, "cd", (Appended::Waits, "abcd", 0)),
        ("a frame that does not fit into the backlog ends the connection", &[], Some(&["ab"]), 3, SlowConsumer::Disconnect, "cd", (Appended::NoRoom, "ab", 0)),
        ("drop_oldest drops the oldest invocations", &[], Some(&["ab", "cd"]), 5, SlowConsumer::DropOldest, "ef", (Appended::Waits, "cdef", 1)),
        ("latest_by_key drops earlier invocations of the key", &[], Some(&["ab", "cd"]), 9, SlowConsumer::LatestByKey, "ef", (Appended::Waits, "ef", 2)),
        ("a frame that never fits ends the connection", &[], Some(&["ab"]), 3, SlowConsumer::DropOldest, "cdef", (Appended::NoRoom, "", 1)),
    ];

    #[test]
    fn a_frame_is_appended_as_in_the_table() {
        for (name, in_run, in_backlog, bytes_max, slow_consumer, new, (outcome, waits, dropped)) in APPENDS {
            let call = |text: &&str| frame(text, Class::Droppable(1));
            let mut frame_list = (!in_run.is_empty()).then(|| frame_list_of(in_run));
            let mut backlog = in_backlog.map(|texts| {
                let mut backlog = Backlog::default();
                texts.iter().for_each(|text| backlog.push(call(text).pending_frame()));
                backlog
            });
            let before = backlog.as_ref().map_or(0, Backlog::bytes) as u64;
            let (mut pending_bytes, mut count) = (1000 + before, 0);
            let mut account = Account { pending_bytes: &mut pending_bytes, dropped: &mut count };
            let policy = policy(*bytes_max, *slow_consumer);
            let appended = append(
                &mut frame_list,
                backlog.as_mut(),
                &mut FrameAppender::new(call(new)),
                policy,
                &mut account,
            );
            assert_eq!(appended, *outcome, "{name}");
            assert_eq!(count, *dropped, "{name}");
            let after = backlog.as_ref().map_or(0, Backlog::bytes) as u64;
            assert_eq!(pending_bytes, 1000 + after, "{name}: the total counts the backlog");
            let joined =
                frame_list.map(|frame_list| String::from_utf8(frame_list.joined().to_vec()).expect("text"));
            assert_eq!(joined.unwrap_or_else(|| rest(backlog)), *waits, "{name}");
        }
    }
}
