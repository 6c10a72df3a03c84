//! Load balancing: the leases that a source should try to acquire now. Pure.
//!
//! Each live source owns its share, rounded up; a lease moves only if the shares are unequal.

use std::collections::BTreeMap;

/// The holder of a lease, as one source sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaseHolder {
    /// This source.
    ThisSource,
    /// No source, or one that is gone or whose lease has expired.
    Free,
    /// Another live source, in this process or elsewhere.
    OtherSource(String),
}

/// The leases to acquire, as indices into `holders`; more than one only if they are free.
pub(crate) fn leases_to_acquire(holders: &[LeaseHolder]) -> Vec<usize> {
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    let mut mine = 0;
    for holder in holders {
        match holder {
            LeaseHolder::ThisSource => mine += 1,
            LeaseHolder::Free => {}
            LeaseHolder::OtherSource(owner) => *held.entry(owner).or_default() += 1,
        }
    }
    let share = holders.len().div_ceil(held.len() + 1);
    let selection = share.saturating_sub(mine);
    if selection == 0 {
        return Vec::new();
    }
    let free: Vec<_> = indices(holders, |holder| *holder == LeaseHolder::Free).take(selection).collect();
    if !free.is_empty() {
        return free;
    }
    // No lease is free: acquire one from the source with the most leases, if it has more than its share. A source that lacks
    // more than one lease also acquires from a source with exactly its share; otherwise the last leases would never move.
    let Some((owner, count)) = held.into_iter().max_by_key(|(_, count)| *count) else { return Vec::new() };
    let tolerated = if selection > 1 { share - 1 } else { share };
    if count <= tolerated {
        return Vec::new();
    }
    indices(holders, |holder| matches!(holder, LeaseHolder::OtherSource(other) if other == owner))
        .take(1)
        .collect()
}

fn indices(holders: &[LeaseHolder], matches: impl Fn(&LeaseHolder) -> bool) -> impl Iterator<Item = usize> {
    holders.iter().enumerate().filter(move |(_, holder)| matches(holder)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `m` = this source, `.` = free, any other letter = another live source.
    fn check(leases: &str, taken: &[usize]) {
        let holders: Vec<_> = leases
            .chars()
            .map(|letter| match letter {
                'm' => LeaseHolder::ThisSource,
                '.' => LeaseHolder::Free,
                other => LeaseHolder::OtherSource(other.to_string()),
            })
            .collect();
        assert_eq!(leases_to_acquire(&holders), taken, "{leases}");
    }

    #[test]
    fn free_leases_are_acquired_up_to_the_share() {
        check(".", &[0]);
        check("....", &[0, 1, 2, 3]);
        check("aa..", &[2, 3]);
        check("aa...", &[2, 3, 4]);
        check("a.m.", &[1]);
    }

    #[test]
    fn a_single_lease_is_never_stolen() {
        check("a", &[]);
        check("m", &[]);
    }

    #[test]
    fn one_lease_at_a_time_is_acquired_from_the_source_with_the_most() {
        check("aaaa", &[0]);
        check("maaa", &[1]);
        check("mmaa", &[]);
        check("aab", &[0]);
        check("ab", &[]);
        check("aaab", &[0]);
    }

    #[test]
    fn a_source_with_its_share_acquires_no_further_lease() {
        check("m.a", &[1]);
        check("mm.aaa", &[2]);
        check("mmm.aa", &[]);
    }
}
