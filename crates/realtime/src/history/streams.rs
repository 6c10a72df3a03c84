//! [`Streams`]: the logs, which of their messages must be removed, and whether another log is admitted. Pure: the time is an
//! argument.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use state::Name;

/// The existing logs. The number of logs of groups is limited.
#[derive(Debug)]
pub(super) struct Streams {
    streams: HashMap<Name, Stream>,
    /// Logs of groups without messages, in the order in which they became empty.
    empty: BTreeMap<u64, Name>,
    emptied: u64,
    groups: usize,
    groups_max: usize,
}

/// The limits of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamLimits {
    /// Whether it counts towards the limit on logs of groups.
    pub(super) is_group: bool,
    pub(super) messages_max: u64,
    pub(super) lifetime: Duration,
}

/// A guard: a log is not removed while one of these exists.
#[derive(Clone, Debug)]
pub(crate) struct InUse {
    _users: Arc<()>,
}

/// The limit on logs of groups is reached, and each contains messages or is in use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyStreams;

#[derive(Debug)]
struct Stream {
    /// The offset of the oldest stored message; `next` is the offset of the next one.
    first: u64,
    next: u64,
    /// When the messages below an offset were stored, oldest first.
    marks: VecDeque<(SystemTime, u64)>,
    limits: StreamLimits,
    /// Whether the durable list contains the log with these limits.
    is_listed: bool,
    /// Its key in `empty`.
    empty_since: Option<u64>,
    users: Arc<()>,
}

/// A log with messages to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trim {
    pub(super) name: Name,
    /// Messages below this offset are removed.
    pub(super) below: u64,
}

impl Stream {
    fn in_use(&self) -> InUse {
        InUse { _users: Arc::clone(&self.users) }
    }
}

impl Streams {
    /// The resolution of the time of messages.
    const MARK_EVERY: Duration = Duration::from_secs(1);

    pub(super) fn new(groups_max: usize) -> Self {
        let (streams, empty) = (HashMap::new(), BTreeMap::new());
        Self { streams, empty, emptied: 0, groups: 0, groups_max }
    }

    /// The number of logs of groups.
    pub(super) const fn groups(&self) -> usize {
        self.groups
    }

    /// Adds a log of an earlier process; the age of its messages is measured from `now`.
    pub(super) fn load(&mut self, name: &Name, limits: StreamLimits, first: u64, next: u64, now: SystemTime) {
        self.insert(name, limits, first, true);
        if next > first {
            self.add(name, next, now);
        }
    }

    /// Uses an existing log, with these limits from now on.
    pub(super) fn find(&mut self, name: &Name, limits: StreamLimits) -> Option<InUse> {
        let stream = self.streams.get_mut(name)?;
        stream.is_listed &= stream.limits == limits;
        stream.limits = limits;
        Some(stream.in_use())
    }

    /// Admits a new log and uses it. Returns the empty logs to remove for it, the one that has been empty longest first.
    pub(super) fn admit(
        &mut self,
        name: &Name,
        limits: StreamLimits,
    ) -> Result<(InUse, Vec<Name>), TooManyStreams> {
        let mut removed = Vec::new();
        if limits.is_group && self.groups >= self.groups_max {
            let excess = self.groups - self.groups_max + 1;
            let is_unused = |name: &&Name| Arc::strong_count(&self.streams[*name].users) == 1;
            removed = self.empty.values().filter(is_unused).take(excess).cloned().collect();
            if removed.len() < excess {
                return Err(TooManyStreams);
            }
            removed.iter().for_each(|name| self.remove(name));
        }
        Ok((self.insert(name, limits, 0, false), removed))
    }

    /// Adds a log whose removal failed.
    pub(super) fn put_back(&mut self, name: &Name, limits: StreamLimits) {
        if !self.streams.contains_key(name) {
            self.insert(name, limits, 0, false);
        }
    }

    fn insert(&mut self, name: &Name, limits: StreamLimits, first: u64, is_listed: bool) -> InUse {
        let users = Arc::default();
        let (next, marks) = (first, VecDeque::new());
        let stream = Stream { first, next, marks, limits, is_listed, empty_since: None, users };
        let in_use = stream.in_use();
        self.groups += usize::from(limits.is_group);
        self.streams.insert(name.clone(), stream);
        self.note_empty(name);
        in_use
    }

    fn remove(&mut self, name: &Name) {
        let Some(stream) = self.streams.remove(name) else { return };
        self.groups -= usize::from(stream.limits.is_group);
        if let Some(since) = stream.empty_since {
            self.empty.remove(&since);
        }
    }

    fn note_empty(&mut self, name: &Name) {
        let Some(stream) = self.streams.get_mut(name).filter(|stream| stream.limits.is_group) else { return };
        stream.empty_since = Some(self.emptied);
        self.empty.insert(self.emptied, name.clone());
        self.emptied += 1;
    }

    pub(super) fn is_listed(&self, name: &Name) -> bool {
        self.streams.get(name).is_some_and(|stream| stream.is_listed)
    }

    pub(super) fn set_listed(&mut self, name: &Name) {
        if let Some(stream) = self.streams.get_mut(name) {
            stream.is_listed = true;
        }
    }

    /// Records that messages up to `next` were stored by `now`.
    pub(super) fn add(&mut self, name: &Name, next: u64, now: SystemTime) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        stream.next = next;
        if let Some(since) = stream.empty_since.take() {
            self.empty.remove(&since);
        }
        match stream.marks.back_mut() {
            Some((at, below)) if now.duration_since(*at).unwrap_or_default() < Self::MARK_EVERY => {
                *below = next;
            }
            _ => stream.marks.push_back((now, next)),
        }
    }

    /// The messages to remove because there are too many. A quarter above the limit is allowed, so that not every message causes
    /// a trim.
    pub(super) fn too_many(&mut self, name: &Name) -> Option<Trim> {
        let stream = self.streams.get_mut(name)?;
        let kept = stream.next - stream.first;
        let messages_max = stream.limits.messages_max;
        if kept <= messages_max + messages_max / 4 {
            return None;
        }
        stream.first = stream.next - messages_max;
        Some(Trim { name: name.clone(), below: stream.first })
    }

    /// The messages to remove because they are too old. An empty log stays until another one replaces it, so that clients that
    /// missed nothing see no gap.
    pub(super) fn too_old(&mut self, now: SystemTime) -> Vec<Trim> {
        let mut trims = Vec::new();
        let mut emptied = Vec::new();
        for (name, stream) in &mut self.streams {
            let lifetime = stream.limits.lifetime;
            let mut below = stream.first;
            let is_over = |at: SystemTime| now.duration_since(at).unwrap_or_default() > lifetime;
            while let Some((_, up_to)) = stream.marks.pop_front_if(|(at, _)| is_over(*at)) {
                below = below.max(up_to);
            }
            if below > stream.first {
                stream.first = below;
                trims.push(Trim { name: name.clone(), below });
                if below == stream.next {
                    emptied.push(name.clone());
                }
            }
        }
        emptied.iter().for_each(|name| self.note_empty(name));
        trims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StreamLimits =
        StreamLimits { is_group: true, messages_max: 8, lifetime: Duration::from_secs(60) };

    fn name(text: &str) -> Name {
        Name::new(&format!("history/chat/{text}")).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn messages_above_the_number_or_age_limit_are_removed() {
        let name = name("a");
        let mut streams = Streams::new(1);
        streams.admit(&name, LIMITS).unwrap();
        let trim = |below| Trim { name: name.clone(), below };
        streams.add(&name, 10, at(0));
        assert_eq!(streams.too_many(&name), None, "a quarter above the limit is allowed");
        streams.add(&name, 11, at(30));
        assert_eq!(streams.too_many(&name), Some(trim(3)));
        assert_eq!(streams.too_old(at(60)), []);
        assert_eq!(streams.too_old(at(61)), [trim(10)]);
        assert!(streams.empty.is_empty());
        assert_eq!(streams.too_old(at(91)), [trim(11)]);
        assert_eq!(
            (streams.groups(), streams.empty.len()),
            (1, 1),
            "an empty log stays until another one replaces it"
        );
    }

    #[test]
    fn a_new_log_replaces_the_log_that_has_been_empty_longest() {
        let mut streams = Streams::new(2);
        let admit = |streams: &mut Streams, text: &str| {
            streams.admit(&name(text), LIMITS).map(|(in_use, removed)| (drop(in_use), removed).1)
        };
        for (text, seconds) in [("a", 10), ("b", 0)] {
            assert_eq!(admit(&mut streams, text), Ok(vec![]));
            streams.add(&name(text), 1, at(seconds));
        }
        assert_eq!(admit(&mut streams, "c"), Err(TooManyStreams));
        streams.too_old(at(61));
        streams.too_old(at(71));
        assert_eq!(admit(&mut streams, "c"), Ok(vec![name("b")]));
        streams.add(&name("c"), 1, at(71));
        assert_eq!((admit(&mut streams, "d"), streams.groups()), (Ok(vec![name("a")]), 2));
        let hub = StreamLimits { is_group: false, ..LIMITS };
        assert_eq!(streams.admit(&name("hub"), hub).unwrap().1, [], "logs of hubs do not count");
    }

    #[test]
    fn a_log_in_use_is_not_replaced() {
        let mut streams = Streams::new(1);
        let (in_use, _) = streams.admit(&name("a"), LIMITS).unwrap();
        assert_eq!(streams.admit(&name("b"), LIMITS).unwrap_err(), TooManyStreams);
        drop(in_use);
        assert_eq!(streams.admit(&name("b"), LIMITS).unwrap().1, [name("a")]);
    }

    #[test]
    fn a_lowered_limit_is_reached_as_logs_become_empty() {
        let mut streams = Streams::new(2);
        for text in ["a", "b", "c", "d"] {
            streams.load(&name(text), LIMITS, 4, if text == "d" { 5 } else { 4 }, at(0));
        }
        assert_eq!(streams.groups(), 4);
        assert_eq!(streams.admit(&name("e"), LIMITS).unwrap().1, ["a", "b", "c"].map(name));
        assert_eq!(streams.groups(), 2);
    }
}
