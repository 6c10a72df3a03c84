//! [`Streams`]: what is known of each log, and how much of it is to go. Pure: the time comes in.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use state::Name;

/// The logs that hold something.
#[derive(Debug, Default)]
pub(super) struct Streams(HashMap<Name, Stream>);

#[derive(Debug)]
struct Stream {
    /// The oldest message kept, and the number of the next one.
    first: u64,
    next: u64,
    /// Until when messages below a number were kept, oldest first.
    marks: VecDeque<(SystemTime, u64)>,
    messages_max: u64,
    lifetime: Duration,
}

/// A log of which something is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trim {
    pub(super) name: Name,
    /// What is below this number goes.
    pub(super) below: u64,
    /// Whether nothing is left then.
    pub(super) is_empty: bool,
}

impl Streams {
    /// How finely time is noted for each log.
    const MARK_EVERY: Duration = Duration::from_secs(1);

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    /// Messages up to `next` are there since `now`.
    pub(super) fn add(
        &mut self,
        name: &Name,
        first: u64,
        next: u64,
        messages_max: u64,
        lifetime: Duration,
        now: SystemTime,
    ) {
        let stream = self.0.entry(name.clone()).or_insert_with(|| Stream {
            first,
            next,
            marks: VecDeque::new(),
            messages_max,
            lifetime,
        });
        stream.next = next;
        match stream.marks.back_mut() {
            Some((at, below)) if now.duration_since(*at).unwrap_or_default() < Self::MARK_EVERY => {
                *below = next;
            }
            _ => stream.marks.push_back((now, next)),
        }
    }

    /// What is to go because there is more than may be. A quarter more is left, so that not every message costs a trim.
    pub(super) fn too_many(&mut self, name: &Name) -> Option<Trim> {
        let stream = self.0.get_mut(name)?;
        let kept = stream.next - stream.first;
        if kept <= stream.messages_max + stream.messages_max / 4 {
            return None;
        }
        stream.first = stream.next - stream.messages_max;
        Some(Trim { name: name.clone(), below: stream.first, is_empty: false })
    }

    /// What is to go because its time is over. Logs that hold nothing any more are forgotten.
    pub(super) fn too_old(&mut self, now: SystemTime) -> Vec<Trim> {
        let mut trims = Vec::new();
        self.0.retain(|name, stream| {
            let lifetime = stream.lifetime;
            let mut below = stream.first;
            let is_over = |at: SystemTime| now.duration_since(at).unwrap_or_default() > lifetime;
            while let Some((_, up_to)) = stream.marks.pop_front_if(|(at, _)| is_over(*at)) {
                below = below.max(up_to);
            }
            if below > stream.first {
                stream.first = below;
                trims.push(Trim { name: name.clone(), below, is_empty: below == stream.next });
            }
            stream.first < stream.next
        });
        trims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_and_what_is_too_old_goes() {
        let name = Name::new("history/chat").unwrap();
        let (mut streams, start) = (Streams::default(), SystemTime::UNIX_EPOCH);
        let at = |seconds| start + Duration::from_secs(seconds);
        let add = |streams: &mut Streams, next, seconds| {
            streams.add(&name, 0, next, 8, Duration::from_secs(60), at(seconds));
        };
        add(&mut streams, 10, 0);
        assert_eq!(streams.too_many(&name), None, "a quarter more is left");
        add(&mut streams, 11, 30);
        assert_eq!(streams.too_many(&name), Some(Trim { name: name.clone(), below: 3, is_empty: false }));
        assert_eq!(streams.too_old(at(60)), []);
        assert_eq!(streams.too_old(at(61)), [Trim { name: name.clone(), below: 10, is_empty: false }]);
        assert!(streams.contains(&name));
        assert_eq!(streams.too_old(at(91)), [Trim { name: name.clone(), below: 11, is_empty: true }]);
        assert!(!streams.contains(&name));
    }
}
