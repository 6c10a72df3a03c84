//! The suite of [`Journal`]: one test or more for each guarantee.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{Backend, instance, name, not_yet, soon};
use crate::{AppendError, Entry, Instance, Journal, JournalReadError, Name, Offset, Position, Record};

/// Makes a `#[tokio::test]` of each test of this suite; the argument is the path of an async factory of a
/// [`Backend`].
#[macro_export]
macro_rules! journal_suite {
    ($make:path) => {
        $crate::suite_tests!(
            $make,
            journal,
            [
                g1_acknowledged_records_survive_a_restart,
                g2_the_records_of_an_append_are_readable_together,
                g2_concurrent_appends_are_atomic,
                g2_a_rejected_append_writes_no_record,
                g3_offsets_rise_by_one_from_zero,
                g3_offsets_continue_after_a_restart,
                g3_an_empty_append_returns_the_end,
                g4_consecutive_reads_have_no_gaps,
                g4_wait_returns_when_a_record_is_appended,
                g4_wait_returns_at_once_for_an_existing_record,
                g4_wait_reports_errors,
                g5_a_lost_journal_gets_another_epoch,
                g5_a_restart_keeps_the_epoch,
                g5_info_creates_a_durable_journal,
                g6_reading_below_a_trim_returns_the_first_position,
                g6_trim_survives_a_restart,
                g6_trim_beyond_the_end_keeps_offsets,
                g6_a_restart_after_much_trimming_keeps_the_rest,
                g7_a_record_above_the_limit_is_rejected,
                g7_reads_respect_both_limits,
                g7_reading_beyond_the_end_is_an_error,
                g8_a_removed_journal_is_created_again_with_another_epoch,
                g8_a_removal_survives_a_restart,
                g8_removing_a_missing_journal_does_nothing,
                g8_a_concurrent_removal_and_append_take_effect_in_some_order,
                g8_wait_reports_a_removal,
                instances_and_names_are_isolated,
                headers_are_stored_with_names_values_and_order,
                unusual_names_are_distinct_journals,
            ]
        );
    };
}

fn record(text: impl Into<String>) -> Record {
    Record::new(Bytes::from(text.into()))
}

fn at(position: Position, offset: u64) -> Position {
    Position { offset: Offset(offset), ..position }
}

/// Bodies as text, in order.
fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.record.body).into_owned()).collect()
}

async fn append(journal: &Arc<dyn Journal>, i: &Instance, n: &Name, bodies: &[&str]) -> Position {
    let records = bodies.iter().map(|body| record(*body)).collect();
    journal.append(i, n, records).await.expect("append works")
}

async fn read_all(journal: &Arc<dyn Journal>, i: &Instance, n: &Name, from: Position) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut from = from;
    loop {
        let entries = journal.read(i, n, from, 1000, 1 << 20).await.expect("read works");
        let Some(last) = entries.last() else { return all };
        from.offset = Offset(last.offset.0 + 1);
        all.extend(entries);
    }
}

/// Guarantee 1.
pub async fn g1_acknowledged_records_survive_a_restart(mut backend: impl Backend) {
    let (i, n) = (instance("a"), name("orders"));
    let start = append(&backend.journal(), &i, &n, &["one", "two"]).await;
    append(&backend.journal(), &i, &n, &["three"]).await;
    backend.reopen().await;
    let entries = read_all(&backend.journal(), &i, &n, start).await;
    assert_eq!(texts(&entries), ["one", "two", "three"]);
}

/// Guarantee 2.
pub async fn g2_the_records_of_an_append_are_readable_together(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let start = append(&journal, &i, &n, &["one", "two", "three"]).await;
    let entries = journal.read(&i, &n, start, 10, 1 << 20).await.expect("read works");
    assert_eq!(texts(&entries), ["one", "two", "three"]);
    assert_eq!(entries.iter().map(|entry| entry.offset.0).collect::<Vec<_>>(), [0, 1, 2]);
}

/// Guarantee 2: a concurrent reader never sees a part of an append, and the records of one append are adjacent.
pub async fn g2_concurrent_appends_are_atomic(backend: impl Backend) {
    const WRITERS: usize = 8;
    const APPENDS: usize = 25;
    const RECORDS: usize = 3;
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let start = at(append(&journal, &i, &n, &["first"]).await, 1);
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (i, n, journal) = (i.clone(), n.clone(), journal.clone());
        tasks.spawn(async move {
            for round in 0..APPENDS {
                let records =
                    (0..RECORDS).map(|part| record(format!("{writer}/{round}/{part}"))).collect::<Vec<_>>();
                journal.append(&i, &n, records).await.expect("append works");
            }
        });
    }
    let mut seen = Vec::new();
    let mut from = start;
    while seen.len() < WRITERS * APPENDS * RECORDS {
        soon("the next record", journal.wait(&i, &n, from)).await.expect("wait works");
        let entries = journal.read(&i, &n, from, usize::MAX, usize::MAX).await.expect("read works");
        assert_eq!(entries.len() % RECORDS, 0, "a read to the end shows whole appends only");
        from.offset.0 += entries.len() as u64;
        seen.extend(texts(&entries));
    }
    tasks.join_all().await;
    for together in seen.chunks(RECORDS) {
        let of = |text: &String| text.rsplit_once('/').expect("bodies have slashes").0.to_owned();
        assert!(together.iter().all(|text| of(text) == of(&together[0])), "mixed: {together:?}");
        assert!(together.iter().enumerate().all(|(part, text)| text.ends_with(&format!("/{part}"))));
    }
    for writer in 0..WRITERS {
        let own: Vec<_> = seen.iter().filter(|text| text.starts_with(&format!("{writer}/"))).collect();
        let expected: Vec<_> = (0..APPENDS)
            .flat_map(|round| (0..RECORDS).map(move |part| format!("{writer}/{round}/{part}")))
            .collect();
        assert!(own.into_iter().eq(expected.iter()), "a caller that awaits each append keeps its order");
    }
}

/// Guarantee 2: if one record of an append is rejected, none of them appears.
pub async fn g2_a_rejected_append_writes_no_record(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let start = append(&journal, &i, &n, &["kept"]).await;
    let huge = Record::new(vec![0; Record::BYTES_MAX + 1]);
    let refused = journal.append(&i, &n, vec![record("before"), huge, record("after")]).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })), "{refused:?}");
    assert_eq!(texts(&read_all(&journal, &i, &n, start).await), ["kept"]);
}

/// Guarantee 3.
pub async fn g3_offsets_rise_by_one_from_zero(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let first = append(&journal, &i, &n, &["one"]).await;
    let second = append(&journal, &i, &n, &["two", "three"]).await;
    let third = append(&journal, &i, &n, &["four"]).await;
    assert_eq!([first.offset.0, second.offset.0, third.offset.0], [0, 1, 3]);
    assert!(first.epoch == second.epoch && second.epoch == third.epoch);
    let info = journal.info(&i, &n).await.expect("info works");
    assert_eq!((info.first, info.next, info.epoch), (Offset(0), Offset(4), first.epoch));
}

/// Guarantee 3.
pub async fn g3_offsets_continue_after_a_restart(mut backend: impl Backend) {
    let (i, n) = (instance("a"), name("orders"));
    append(&backend.journal(), &i, &n, &["one", "two"]).await;
    backend.reopen().await;
    let next = append(&backend.journal(), &i, &n, &["three"]).await;
    assert_eq!(next.offset, Offset(2));
    backend.reopen().await;
    let entries = read_all(&backend.journal(), &i, &n, at(next, 0)).await;
    assert_eq!(texts(&entries), ["one", "two", "three"]);
}

/// Guarantee 3.
pub async fn g3_an_empty_append_returns_the_end(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    assert_eq!(append(&journal, &i, &n, &[]).await.offset, Offset(0));
    append(&journal, &i, &n, &["one"]).await;
    assert_eq!(append(&journal, &i, &n, &[]).await.offset, Offset(1));
}

/// Guarantee 4.
pub async fn g4_consecutive_reads_have_no_gaps(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let start = append(&journal, &i, &n, &["0"]).await;
    for number in 1..200 {
        append(&journal, &i, &n, &[&number.to_string()]).await;
    }
    let mut from = start;
    for step in [1, 7, 64, 100, 500] {
        let entries = journal.read(&i, &n, from, step, usize::MAX).await.expect("read works");
        for (index, entry) in entries.iter().enumerate() {
            assert_eq!(entry.offset.0, from.offset.0 + index as u64);
            assert_eq!(entry.record.body, entry.offset.0.to_string().as_bytes());
        }
        from.offset.0 += entries.len() as u64;
    }
    assert_eq!(from.offset, Offset(200));
    assert!(journal.read(&i, &n, from, 10, 1 << 20).await.expect("the end can be read").is_empty());
}

/// Guarantee 4.
pub async fn g4_wait_returns_when_a_record_is_appended(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let end = at(append(&journal, &i, &n, &["one"]).await, 1);
    let mut waiting = journal.wait(&i, &n, end);
    not_yet("waiting for the second record", &mut waiting).await;
    append(&journal, &i, &n, &["two"]).await;
    soon("the wake-up", waiting).await.expect("wait works");
    let entries = journal.read(&i, &n, end, 10, 1 << 20).await.expect("read works");
    assert_eq!(texts(&entries), ["two"]);
}

/// Guarantee 4.
pub async fn g4_wait_returns_at_once_for_an_existing_record(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let start = append(&journal, &i, &n, &["one"]).await;
    soon("waiting for a present record", journal.wait(&i, &n, start)).await.expect("wait works");
}

/// Guarantees 5 and 6, seen by a waiting reader.
pub async fn g4_wait_reports_errors(mut backend: impl Backend) {
    let (i, n) = (instance("a"), name("orders"));
    let start = append(&backend.journal(), &i, &n, &["one", "two"]).await;
    backend.journal().trim(&i, &n, at(start, 1)).await.expect("trim works");
    let trimmed = soon("an answer", backend.journal().wait(&i, &n, start)).await;
    assert!(matches!(trimmed, Err(JournalReadError::Trimmed(_))), "{trimmed:?}");
    let beyond = soon("an answer", backend.journal().wait(&i, &n, at(start, 3))).await;
    assert!(matches!(beyond, Err(JournalReadError::BeyondEnd(_))), "{beyond:?}");
    backend.lose().await;
    let changed = soon("an answer", backend.journal().wait(&i, &n, at(start, 1))).await;
    assert!(matches!(changed, Err(JournalReadError::EpochChanged(_))), "{changed:?}");
}

/// Guarantee 5.
pub async fn g5_a_lost_journal_gets_another_epoch(mut backend: impl Backend) {
    let (i, n) = (instance("a"), name("orders"));
    let old = append(&backend.journal(), &i, &n, &["one", "two"]).await;
    backend.lose().await;
    let new = append(&backend.journal(), &i, &n, &["other"]).await;
    assert_ne!(old.epoch, new.epoch);
    let read = backend.journal().read(&i, &n, old, 10, 1 << 20).await;
    let Err(JournalReadError::EpochChanged(now)) = read else {
        panic!("expected EpochChanged, got {read:?}")
    };
    assert_eq!(now, at(new, 0), "the error tells where to start again");
}

/// Guarantee 5.
pub async fn g5_a_restart_keeps_the_epoch(mut backend: impl Backend) {
    let (i, n) = (instance("a"), name("orders"));
    let before = append(&backend.journal(), &i, &n, &["one"]).await;
    backend.reopen().await;
    assert_eq!(backend.journal().info(&i, &n).await.expect("info works").epoch, before.epoch);
}

/// Guarantee 5: a position in an empty journal is valid after a restart.
pub async fn g5_info_creates_a_durable_journal(mut backend: impl Backend) {
    let (i, n) = (instance("a"), name("orders"));
    let before = backend.journal().info(&i, &n).await.expect("info works");
    assert_eq!((before.first, before.next), (Offset(0), Offset(0)));
    backend.reopen().await;
    assert_eq!(backend.journal().info(&i, &n).await.expect("info works"), before);
    let start = append(&backend.journal(), &i, &n, &["one"]).await;
    assert_eq!(start, Position { epoch: before.epoch, offset: before.next });
}

/// Guarantee 6.
pub async fn g6_reading_below_a_trim_returns_the_first_position(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let start = append(&journal, &i, &n, &["0", "1", "2", "3", "4"]).await;
    journal.trim(&i, &n, at(start, 3)).await.expect("trim works");
    let info = journal.info(&i, &n).await.expect("info works");
    assert!(info.first <= Offset(3), "what is not below the trim stays");
    assert_eq!(info.next, Offset(5));
    if info.first > Offset(0) {
        let read = journal.read(&i, &n, start, 10, 1 << 20).await;
        let Err(JournalReadError::Trimmed(left)) = read else { panic!("expected Trimmed, got {read:?}") };
        assert_eq!(left, at(start, info.first.0));
    }
    assert_eq!(texts(&read_all(&journal, &i, &n, at(start, 3)).await), ["3", "4"]);
    journal.trim(&i, &n, at(start, 1)).await.expect("trimming below the first is no error");
    assert_eq!(journal.info(&i, &n).await.expect("info works").first, info.first);
}

/// Guarantee 6.
pub async fn g6_trim_survives_a_restart(mut backend: impl Backend) {
    let (i, n) = (instance("a"), name("orders"));
    let start = append(&backend.journal(), &i, &n, &["0", "1", "2"]).await;
    backend.journal().trim(&i, &n, at(start, 2)).await.expect("trim works");
    let before = backend.journal().info(&i, &n).await.expect("info works");
    backend.reopen().await;
    let after = backend.journal().info(&i, &n).await.expect("info works");
    assert!(after.first >= before.first, "what was trimmed does not come back");
    assert_eq!(texts(&read_all(&backend.journal(), &i, &n, at(start, 2)).await), ["2"]);
}

/// Guarantees 3 and 6: a journal whose records were all trimmed continues its offsets.
pub async fn g6_trim_beyond_the_end_keeps_offsets(mut backend: impl Backend) {
    let (i, n) = (instance("a"), name("orders"));
    let start = append(&backend.journal(), &i, &n, &["0", "1", "2"]).await;
    backend.journal().trim(&i, &n, at(start, 100)).await.expect("trim works");
    assert_eq!(backend.journal().info(&i, &n).await.expect("info works").next, Offset(3));
    backend.reopen().await;
    let next = append(&backend.journal(), &i, &n, &["3"]).await;
    assert_eq!(next, at(start, 3));
    assert_eq!(texts(&read_all(&backend.journal(), &i, &n, next).await), ["3"]);
}

/// Guarantee 6: storage before the trim may be freed while another journal keeps all of its records.
pub async fn g6_a_restart_after_much_trimming_keeps_the_rest(mut backend: impl Backend) {
    let (i, trimmed, kept) = (instance("a"), name("trimmed"), name("kept"));
    let body = "x".repeat(4000);
    let mut expected = Vec::new();
    for round in 0..60 {
        let journal = backend.journal();
        let position = append(&journal, &i, &trimmed, &[&body, &body]).await;
        if round % 10 == 0 {
            append(&journal, &i, &kept, &[&round.to_string()]).await;
            expected.push(round.to_string());
            journal.trim(&i, &trimmed, position).await.expect("trim works");
        }
    }
    backend.reopen().await;
    let start = backend.journal().info(&i, &kept).await.expect("info works");
    let from = Position { epoch: start.epoch, offset: start.first };
    assert_eq!(texts(&read_all(&backend.journal(), &i, &kept, from).await), expected);
    let info = backend.journal().info(&i, &trimmed).await.expect("info works");
    let from = Position { epoch: info.epoch, offset: info.first };
    let left = read_all(&backend.journal(), &i, &trimmed, from).await;
    assert_eq!(left.len() as u64, info.next.0 - info.first.0);
    assert!(info.next == Offset(120) && left.len() >= 20);
}

/// Guarantee 7.
pub async fn g7_a_record_above_the_limit_is_rejected(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let mut largest = Record::new(vec![7; Record::BYTES_MAX - 5]);
    largest.headers.push(("ab".to_owned(), Bytes::from_static(b"cde")));
    let start = journal.append(&i, &n, vec![largest.clone()]).await.expect("the largest record fits");
    let read = journal.read(&i, &n, start, 1, 1).await.expect("read works");
    assert!(read.len() == 1 && read[0].record == largest, "the largest record comes back whole");
    largest.headers[0].1 = Bytes::from_static(b"cdef");
    let refused = journal.append(&i, &n, vec![largest]).await;
    let Err(AppendError::TooLarge { bytes, limit }) = refused else { panic!("got {refused:?}") };
    assert_eq!((bytes, limit), (Record::BYTES_MAX + 1, Record::BYTES_MAX));
}

/// Guarantee 7.
pub async fn g7_reads_respect_both_limits(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let body = "x".repeat(1000);
    let start = append(&journal, &i, &n, &[body.as_str(); 20]).await;
    let few = journal.read(&i, &n, start, 3, usize::MAX).await.expect("read works");
    assert_eq!(few.len(), 3);
    let small = journal.read(&i, &n, start, 100, 5000).await.expect("read works");
    assert!((1..=6).contains(&small.len()), "about 5000 bytes are not {} records", small.len());
    let one = journal.read(&i, &n, start, 100, 1).await.expect("read works");
    assert_eq!(one.len(), 1, "at least one record where there is one");
}

/// Guarantee 7: the position after the last record is the end; a higher one is an error.
pub async fn g7_reading_beyond_the_end_is_an_error(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let start = append(&journal, &i, &n, &["one"]).await;
    let beyond = journal.read(&i, &n, at(start, 2), 1, 1).await;
    let Err(JournalReadError::BeyondEnd(end)) = beyond else { panic!("expected BeyondEnd, got {beyond:?}") };
    assert_eq!(end, at(start, 1));
}

/// Guarantee 8.
pub async fn g8_a_removed_journal_is_created_again_with_another_epoch(backend: impl Backend) {
    let (i, n, other, journal) = (instance("a"), name("orders"), name("bills"), backend.journal());
    let old = append(&journal, &i, &n, &["one", "two"]).await;
    let kept = append(&journal, &i, &other, &["kept"]).await;
    append(&journal, &instance("b"), &n, &["kept too"]).await;
    journal.remove(&i, &n).await.expect("remove works");
    let read = journal.read(&i, &n, old, 10, 1 << 20).await;
    let Err(JournalReadError::EpochChanged(now)) = read else {
        panic!("expected EpochChanged, got {read:?}")
    };
    assert_eq!(now.offset, Offset(0), "nothing is left");
    let new = append(&journal, &i, &n, &["three"]).await;
    assert_eq!(new, now, "the error tells where to start again");
    assert_ne!(new.epoch, old.epoch);
    assert_eq!(texts(&read_all(&journal, &i, &n, new).await), ["three"]);
    assert_eq!(texts(&read_all(&journal, &i, &other, kept).await), ["kept"]);
    assert_eq!(journal.info(&instance("b"), &n).await.expect("info works").next, Offset(1));
    let trimmed = journal.trim(&i, &n, old).await;
    assert!(trimmed.is_err(), "a trim by a position of before has no effect: {trimmed:?}");
}

/// Guarantee 8: the journal does not reappear, and no other journal loses records, whatever was created after the removal.
pub async fn g8_a_removal_survives_a_restart(mut backend: impl Backend) {
    let (i, gone, again, kept) = (instance("a"), name("gone"), name("again"), name("kept"));
    let body = "x".repeat(4000);
    let mut expected = Vec::new();
    let mut old = Vec::new();
    for round in 0..20 {
        let journal = backend.journal();
        append(&journal, &i, &kept, &[&round.to_string()]).await;
        expected.push(round.to_string());
        for n in [&gone, &again] {
            old.push(append(&journal, &i, n, &[&body, &body]).await.epoch);
            journal.remove(&i, n).await.expect("remove works");
        }
        append(&journal, &i, &again, &["new"]).await;
        if round % 5 == 4 {
            backend.reopen().await;
        }
    }
    let journal = backend.journal();
    let start = at(append(&journal, &i, &kept, &[]).await, 0);
    assert_eq!(texts(&read_all(&journal, &i, &kept, start).await), expected);
    let info = journal.info(&i, &again).await.expect("info works");
    let from = Position { epoch: info.epoch, offset: info.first };
    assert_eq!(texts(&read_all(&journal, &i, &again, from).await), ["new"]);
    let info = journal.info(&i, &gone).await.expect("info works");
    assert_eq!((info.first, info.next), (Offset(0), Offset(0)));
    assert!(!old.contains(&info.epoch), "an epoch of before does not come again");
}

/// Guarantee 8.
pub async fn g8_removing_a_missing_journal_does_nothing(mut backend: impl Backend) {
    let (i, n) = (instance("a"), name("orders"));
    backend.journal().remove(&i, &n).await.expect("there is nothing to remove");
    let start = append(&backend.journal(), &i, &n, &["one"]).await;
    for _ in 0..2 {
        backend.journal().remove(&i, &n).await.expect("remove works");
    }
    backend.reopen().await;
    backend.journal().remove(&i, &n).await.expect("there is nothing to remove");
    assert_ne!(append(&backend.journal(), &i, &n, &["two"]).await.epoch, start.epoch);
}

/// Guarantees 2, 3 and 8: each append exists completely or was removed, in some consistent order.
pub async fn g8_a_concurrent_removal_and_append_take_effect_in_some_order(mut backend: impl Backend) {
    let (i, n) = (instance("a"), name("orders"));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let (i, n, journal) = (i.clone(), n.clone(), backend.journal());
        tasks.spawn(async move {
            let mut positions = Vec::new();
            for round in 0..50 {
                let text = format!("{task}/{round}");
                let position = append(&journal, &i, &n, &[&text, &text]).await;
                positions.push((position.epoch.0, position.offset.0, text));
                if round % 5 == task {
                    journal.remove(&i, &n).await.expect("remove works");
                }
                // A trim that is concurrent with a removal has nothing to do.
                drop(journal.trim(&i, &n, position).await);
            }
            positions
        });
    }
    let mut positions: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    positions.sort();
    let apart = |pair: &[(u64, u64, String)]| pair[0].0 != pair[1].0 || pair[0].1 + 2 == pair[1].1;
    assert!(positions.windows(2).all(apart), "offsets rise within an epoch: {positions:?}");
    assert!(
        positions.chunk_by(|one, next| one.0 == next.0).all(|life| life[0].1 == 0),
        "each life starts at 0: {positions:?}"
    );
    backend.reopen().await;
    let info = backend.journal().info(&i, &n).await.expect("info works");
    let from = Position { epoch: info.epoch, offset: info.first };
    for entry in read_all(&backend.journal(), &i, &n, from).await {
        let text = String::from_utf8_lossy(&entry.record.body).into_owned();
        let (epoch, offset) = (info.epoch.0, entry.offset.0 - entry.offset.0 % 2);
        assert!(positions.contains(&(epoch, offset, text)), "{entry:?} is what was acknowledged");
    }
}

/// Guarantee 8, seen by a waiting reader.
pub async fn g8_wait_reports_a_removal(backend: impl Backend) {
    let (i, n, journal) = (instance("a"), name("orders"), backend.journal());
    let end = at(append(&journal, &i, &n, &["one"]).await, 1);
    let mut waiting = journal.wait(&i, &n, end);
    not_yet("waiting for the second record", &mut waiting).await;
    journal.remove(&i, &n).await.expect("remove works");
    let changed = soon("an answer", waiting).await;
    assert!(matches!(changed, Err(JournalReadError::EpochChanged(_))), "{changed:?}");
}

/// See [`Instance`].
pub async fn instances_and_names_are_isolated(mut backend: impl Backend) {
    let homes: Vec<_> =
        ["a", "b"].into_iter().flat_map(|i| ["orders", "bills"].map(|n| (instance(i), name(n)))).collect();
    for (i, n) in &homes {
        append(&backend.journal(), i, n, &[&format!("{i}/{n}")]).await;
    }
    backend.reopen().await;
    let mut epochs = BTreeSet::new();
    for (i, n) in &homes {
        let info = backend.journal().info(i, n).await.expect("info works");
        epochs.insert(info.epoch.0);
        let from = Position { epoch: info.epoch, offset: info.first };
        assert_eq!(texts(&read_all(&backend.journal(), i, n, from).await), [format!("{i}/{n}")]);
    }
    assert_eq!(epochs.len(), homes.len(), "each journal has an epoch of its own");
}

/// See [`crate::RecordHeaders`].
pub async fn headers_are_stored_with_names_values_and_order(mut backend: impl Backend) {
    let (i, n) = (instance("a"), name("orders"));
    let mut sent = record("body");
    sent.headers = vec![
        ("traceparent".to_owned(), Bytes::from_static(b"00-ab-cd-01")),
        ("empty".to_owned(), Bytes::new()),
        ("binary".to_owned(), Bytes::from_static(&[0, 255, 10])),
        ("again".to_owned(), Bytes::from_static(b"1")),
        ("again".to_owned(), Bytes::from_static(b"2")),
    ];
    let empty = Record::new(Bytes::new());
    let records = vec![sent.clone(), empty.clone()];
    let start = backend.journal().append(&i, &n, records).await.expect("append works");
    backend.reopen().await;
    let read = backend.journal().read(&i, &n, start, 10, 1 << 20).await.expect("read works");
    assert_eq!(read.into_iter().map(|entry| entry.record).collect::<Vec<_>>(), [sent, empty]);
}

/// See [`Name`]: any characters except control characters, also those that are special in a file system or a subject.
pub async fn unusual_names_are_distinct_journals(mut backend: impl Backend) {
    let i = instance("a");
    let longest = "é".repeat(Name::BYTES_MAX / 2);
    let odd = ["..", ".", "a/b", "a_b", "A", "a", "a%2Fb", "*", ">", "con", "ü", &longest, " "];
    for text in odd {
        append(&backend.journal(), &i, &name(text), &[text]).await;
    }
    backend.reopen().await;
    for text in odd {
        let info = backend.journal().info(&i, &name(text)).await.expect("info works");
        let from = Position { epoch: info.epoch, offset: info.first };
        assert_eq!(texts(&read_all(&backend.journal(), &i, &name(text), from).await), [text]);
    }
}
