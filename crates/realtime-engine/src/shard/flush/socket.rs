//! Delivery by a WebSocket. Frames are pending in a run until the end of the turn; what the socket does not accept then stays in a backlog
//! until the socket is writable. While there is a backlog there is no run.

use std::io::{self, IoSlice};
use std::rc::Rc;

use super::room::{Account, Appended, make_room};
use crate::shard::index::HubPolicy;
use crate::shard::pending::{Backlog, Run, Step};

/// Runs up to this size are joined into one buffer; beyond it, copying costs more than the slices do.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// Where bytes are written.
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
    run: &mut Option<Rc<Run>>,
    backlog: Option<&mut Backlog>,
    step: &mut Step,
    policy: HubPolicy,
    account: &mut Account<'_>,
) -> Appended {
    let bytes = step.frame().len();
    if let Some(backlog) = backlog {
        let (freed, left_out) = make_room(backlog, step.frame(), policy);
        *account.pending_bytes -= freed as u64;
        *account.left_out += left_out;
        if backlog.policed_bytes() + bytes > policy.pending_bytes_max {
            return Appended::NoRoom;
        }
        backlog.push(step.frame().piece());
        *account.pending_bytes += bytes as u64;
        return Appended::Waits;
    }
    let waiting = run.as_ref().map_or(0, |run| run.bytes());
    if waiting > 0 && waiting + bytes > policy.pending_bytes_max {
        return Appended::FlushFirst;
    }
    *run = Some(step.after(run.as_ref()));
    Appended::Waits
}

/// Whether a run is written in slices, as a backlog is, rather than joined.
pub(super) fn is_long(run: &Run) -> bool {
    run.bytes() > JOINED_BYTES_MAX && run.frames() > 1
}

/// Writes a run that is not long in one call. The rest is returned as a backlog.
pub(super) fn write_run(socket: &mut impl Writer, run: &Run) -> (Report, Option<Backlog>) {
    let report = |outcome, bytes, frames| Report {
        outcome,
        writes: 1,
        bytes,
        frames,
        has_hub_message: run.has_hub_message(),
    };
    let written = match socket.write(run.joined()) {
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(_) => return (Report { has_hub_message: false, ..report(Outcome::Lost, 0, 0) }, None),
    };
    if written < run.bytes() {
        return (report(Outcome::Blocked, written, 0), Some(Backlog::rest_of(run, written)));
    }
    (report(Outcome::Written, written, u64::from(run.frames())), None)
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

    /// Accepts what its script says: so many bytes, or it would block, or it fails.
    #[derive(Default)]
    struct Script {
        takes: VecDeque<Take>,
        taken: Vec<u8>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Take {
        Bytes(usize),
        Block,
        Break,
    }
    use Take::{Block, Break};

    impl Script {
        fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.takes.pop_front().expect("the script has a line for each write") {
                Take::Bytes(most) => {
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

    const ALL: Take = Take::Bytes(usize::MAX);

    fn frame(text: &str, class: Class) -> Frame {
        Frame::new(Bytes::copy_from_slice(text.as_bytes()), class, 0)
    }

    fn run_of(texts: &[&str]) -> Rc<Run> {
        let step = |run: Option<Rc<Run>>, text: &&str| {
            Some(Step::new(frame(text, Class::Required)).after(run.as_ref()))
        };
        texts.iter().fold(None, step).expect("a test has frames")
    }

    fn policy(pending_bytes_max: usize, slow_consumer: SlowConsumer) -> HubPolicy {
        HubPolicy { pending_bytes_max, slow_consumer, idle_timeout_ms: None }
    }

    /// Name, what the socket accepts of the frames `ab`, `cd`, `ef` (6 bytes), the report (outcome, writes, bytes, frames), and what is left.
    type WriteCase = (&'static str, &'static [Take], (Outcome, u64, usize, u64), &'static str);

    #[rustfmt::skip]
    const RUNS: &[WriteCase] = &[
        ("all is taken", &[ALL], (Outcome::Written, 1, 6, 3), ""),
        ("a part is taken: the rest waits, and its frames count when they end", &[Take::Bytes(3)], (Outcome::Blocked, 1, 3, 0), "def"),
        ("nothing is taken: all waits", &[Block], (Outcome::Blocked, 1, 0, 0), "abcdef"),
        ("the socket is broken: nothing waits any more", &[Break], (Outcome::Lost, 1, 0, 0), ""),
    ];

    #[rustfmt::skip]
    const BACKLOGS: &[WriteCase] = &[
        ("all is taken in one write", &[ALL], (Outcome::Written, 1, 6, 3), ""),
        ("writes go on until the socket blocks", &[Take::Bytes(3), Take::Bytes(2), Block], (Outcome::Blocked, 3, 5, 2), "f"),
        ("short writes go on to the end", &[Take::Bytes(5), ALL], (Outcome::Written, 2, 6, 3), ""),
        ("nothing is taken", &[Block], (Outcome::Blocked, 1, 0, 0), "abcdef"),
        ("the socket breaks on the way", &[Take::Bytes(2), Break], (Outcome::Lost, 2, 2, 1), "cdef"),
    ];

    fn rest(backlog: Option<Backlog>) -> String {
        let pieces = backlog.map(Backlog::into_bytes).unwrap_or_default();
        String::from_utf8(pieces.concat()).expect("frames of tests are text")
    }

    #[test]
    fn a_run_is_written_as_the_table_says() {
        for (name, takes, (outcome, writes, bytes, frames), left) in RUNS {
            let mut script = Script { takes: takes.iter().copied().collect(), ..Script::default() };
            let (report, backlog) = write_run(&mut script, &run_of(&["ab", "cd", "ef"]));
            let expected = (*outcome, *writes, *bytes, *frames);
            assert_eq!((report.outcome, report.writes, report.bytes, report.frames), expected, "{name}");
            assert_eq!(report.has_hub_message, *outcome != Outcome::Lost, "{name}");
            assert_eq!(script.taken, "abcdef".as_bytes()[..*bytes], "{name}");
            assert_eq!(rest(backlog), *left, "{name}");
        }
    }

    #[test]
    fn a_backlog_is_written_as_the_table_says() {
        for (name, takes, (outcome, writes, bytes, frames), left) in BACKLOGS {
            let mut script = Script { takes: takes.iter().copied().collect(), ..Script::default() };
            let mut backlog = Backlog::rest_of(&run_of(&["ab", "cd", "ef"]), 0);
            let report = write_backlog(&mut script, &mut backlog);
            let expected = (*outcome, *writes, *bytes, *frames);
            assert_eq!((report.outcome, report.writes, report.bytes, report.frames), expected, "{name}");
            assert_eq!(report.has_hub_message, *bytes > 0, "{name}");
            assert_eq!(script.taken, "abcdef".as_bytes()[..*bytes], "{name}");
            assert_eq!(rest(Some(backlog)), *left, "{name}");
        }
    }

    /// Name, frames in the run, invocations in the backlog (absent: no backlog), limit of pending bytes, the policy, the new frame, and the
    /// result: the outcome, the pending frames, and how many invocations were dropped.
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
        ("nothing waits: one frame always has room", &[], None, 3, SlowConsumer::Disconnect, "abcdef", (Appended::Waits, "abcdef", 0)),
        ("a run with room grows", &["ab"], None, 4, SlowConsumer::Disconnect, "cd", (Appended::Waits, "abcd", 0)),
        ("a run without room is written first", &["ab"], None, 3, SlowConsumer::Disconnect, "cd", (Appended::FlushFirst, "ab", 0)),
        ("a backlog with room grows", &[], Some(&["ab"]), 4, SlowConsumer::Disconnect, "cd", (Appended::Waits, "abcd", 0)),
        ("a backlog without room ends the client", &[], Some(&["ab"]), 3, SlowConsumer::Disconnect, "cd", (Appended::NoRoom, "ab", 0)),
        ("a policy leaves the oldest calls out", &[], Some(&["ab", "cd"]), 5, SlowConsumer::DropOldest, "ef", (Appended::Waits, "cdef", 1)),
        ("a policy leaves earlier calls of the same key out", &[], Some(&["ab", "cd"]), 9, SlowConsumer::LatestByKey, "ef", (Appended::Waits, "ef", 2)),
        ("a frame that never fits ends the client all the same", &[], Some(&["ab"]), 3, SlowConsumer::DropOldest, "cdef", (Appended::NoRoom, "", 1)),
    ];

    #[test]
    fn a_frame_is_appended_as_the_table_says() {
        for (name, in_run, in_backlog, bytes_max, slow_consumer, new, (outcome, waits, left_out)) in APPENDS {
            let call = |text: &&str| frame(text, Class::Droppable(1));
            let mut run = (!in_run.is_empty()).then(|| run_of(in_run));
            let mut backlog = in_backlog.map(|texts| {
                let mut backlog = Backlog::default();
                texts.iter().for_each(|text| backlog.push(call(text).piece()));
                backlog
            });
            let before = backlog.as_ref().map_or(0, Backlog::bytes) as u64;
            let (mut pending_bytes, mut count) = (1000 + before, 0);
            let mut account = Account { pending_bytes: &mut pending_bytes, left_out: &mut count };
            let policy = policy(*bytes_max, *slow_consumer);
            let appended =
                append(&mut run, backlog.as_mut(), &mut Step::new(call(new)), policy, &mut account);
            assert_eq!(appended, *outcome, "{name}");
            assert_eq!(count, *left_out, "{name}");
            let after = backlog.as_ref().map_or(0, Backlog::bytes) as u64;
            assert_eq!(pending_bytes, 1000 + after, "{name}: the account is that of the backlog");
            let joined = run.map(|run| String::from_utf8(run.joined().to_vec()).expect("text"));
            assert_eq!(joined.unwrap_or_else(|| rest(backlog)), *waits, "{name}");
        }
    }
}
