//! Which leases a source should try to take now. Pure: everything comes in as arguments.
//!
//! The aim is that each living source holds its share, rounded up, and that a lease moves only when the balance is off.

use std::collections::BTreeMap;

/// Who holds a lease, as one source sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// This source.
    Me,
    /// Nobody, or somebody who is known to have gone or has not been heard of for too long.
    Nobody,
    /// A living source, here or elsewhere.
    Other(String),
}

/// The leases to take, as indices into `holders`; more than one only where they are free.
pub(crate) fn leases_to_take(holders: &[Holder]) -> Vec<usize> {
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    let mut mine = 0;
    for holder in holders {
        match holder {
            Holder::Me => mine += 1,
            Holder::Nobody => {}
            Holder::Other(owner) => *held.entry(owner).or_default() += 1,
        }
    }
    let share = holders.len().div_ceil(held.len() + 1);
    let wanted = share.saturating_sub(mine);
    if wanted == 0 {
        return Vec::new();
    }
    let free: Vec<_> = indices(holders, |holder| *holder == Holder::Nobody).take(wanted).collect();
    if !free.is_empty() {
        return free;
    }
    // Nothing is free: take one from whoever holds most, if that one has more than its share. A source that lacks more
    // than one lease may also take from a holder of exactly the share, or the last ones would never move.
    let Some((owner, count)) = held.into_iter().max_by_key(|(_, count)| *count) else { return Vec::new() };
    let tolerated = if wanted > 1 { share - 1 } else { share };
    if count <= tolerated {
        return Vec::new();
    }
    indices(holders, |holder| matches!(holder, Holder::Other(other) if other == owner)).take(1).collect()
}

fn indices(holders: &[Holder], matches: impl Fn(&Holder) -> bool) -> impl Iterator<Item = usize> {
    holders.iter().enumerate().filter(move |(_, holder)| matches(holder)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `m` = mine, `.` = free, any other letter = a living owner.
    fn check(leases: &str, taken: &[usize]) {
        let holders: Vec<_> = leases
            .chars()
            .map(|letter| match letter {
                'm' => Holder::Me,
                '.' => Holder::Nobody,
                other => Holder::Other(other.to_string()),
            })
            .collect();
        assert_eq!(leases_to_take(&holders), taken, "{leases}");
    }

    #[test]
    fn free_leases_are_taken_up_to_the_share() {
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
    fn one_lease_at_a_time_is_taken_from_the_greedy() {
        check("aaaa", &[0]);
        check("maaa", &[1]);
        check("mmaa", &[]);
        check("aab", &[0]);
        check("ab", &[]);
        check("aaab", &[0]);
    }

    #[test]
    fn who_has_enough_takes_nothing() {
        check("m.a", &[1]);
        check("mm.aaa", &[2]);
        check("mmm.aa", &[]);
    }
}
