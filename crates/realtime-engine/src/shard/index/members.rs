//! Lists of members, in which each connection stores its own position.

use crate::shard::keys::Slot;

/// Appends a member and returns its position. The first member reserves space for one instead of four: most users have one
/// connection.
pub(super) fn push(members: &mut Vec<Slot>, slot: Slot) -> u32 {
    if members.capacity() == 0 {
        members.reserve_exact(1);
    }
    members.push(slot);
    to_u32(members.len() - 1)
}

/// Removes the member at a position. Returns the member that was moved there, if any.
pub(super) fn swap_remove(members: &mut Vec<Slot>, position: u32) -> Option<Slot> {
    members.swap_remove(position as usize);
    if members.len() * 4 < members.capacity() {
        members.shrink_to(members.len() * 2);
    }
    members.get(position as usize).copied()
}

/// Converts an index of a table of the shard to a key.
pub(super) fn to_u32(index: usize) -> u32 {
    u32::try_from(index).expect("the tables of a shard have fewer than 2^32 entries")
}
