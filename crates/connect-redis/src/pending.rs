//! The keys of a list trigger, and the entries of a list that are not settled yet.
//!
//! Redis lists have no acknowledgement. An entry that is popped for a function is therefore moved, in one step on the server, into a hash
//! of its owner, and removed from there when it is settled. What the hash of an owner that is gone contains is moved back to the list.

/// The keys of one trigger. They have the hash slot of the list.
#[derive(Clone, Debug)]
pub(crate) struct ListKeys {
    pub(crate) list: String,
    /// A sorted set: owners with the time at which their lock expires, in milliseconds of the server's clock.
    pub(crate) owners: String,
    /// The hash of an owner is this prefix and its name.
    pub(crate) pending_prefix: String,
}

impl ListKeys {
    pub(crate) fn new(list: &str, function: &str) -> Self {
        // Redis Cluster hashes the text in the first braces.
        let tagged = match hash_tag(list) {
            Some(_) => list.to_owned(),
            None => format!("{{{list}}}"),
        };
        let prefix = format!("{tagged}:chappe:{function}");
        Self {
            list: list.to_owned(),
            owners: format!("{prefix}:owners"),
            pending_prefix: format!("{prefix}:pending:"),
        }
    }

    pub(crate) fn pending(&self, owner: &str) -> String {
        format!("{}{owner}", self.pending_prefix)
    }
}

fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    rest.split_once('}').map(|(tag, _)| tag).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_trigger_have_the_hash_slot_of_its_list() {
        let keys = ListKeys::new("orders", "work");
        assert_eq!(keys.owners, "{orders}:chappe:work:owners");
        assert_eq!(keys.pending("me"), "{orders}:chappe:work:pending:me");
        let keys = ListKeys::new("{shop}orders", "work");
        assert_eq!(keys.owners, "{shop}orders:chappe:work:owners");
    }
}
