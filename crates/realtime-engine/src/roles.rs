//! [`Roles`]: the permissions of a client on groups.

/// The permissions of a client on groups, from the `role` claims of its token. Nothing is permitted by default.
///
/// The names are those of Azure Web PubSub (`webpubsub.joinLeaveGroup`, `webpubsub.sendToGroup`, each for all groups or with
/// `.<group>` for one), or the same with `chappe.` instead of `webpubsub.`; Azure SignalR Service does not define roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    join: Grant,
    send: Grant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Grant {
    Only(Box<[Box<str>]>),
    Every,
}

impl Default for Grant {
    fn default() -> Self {
        Self::Only(Box::default())
    }
}

impl Grant {
    fn covers(&self, group: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Only(groups) => groups.iter().any(|granted| **granted == *group),
        }
    }
}

impl Roles {
    /// Parses the roles of a token; unknown ones are ignored. `None` if nothing is granted.
    pub fn from_claims<'a>(roles: impl Iterator<Item = &'a str>) -> Option<Self> {
        let (mut join, mut send) = (Some(Vec::new()), Some(Vec::new()));
        for role in roles {
            let Some(rest) = role.strip_prefix("webpubsub.").or_else(|| role.strip_prefix("chappe.")) else {
                continue;
            };
            let (what, group) =
                rest.split_once('.').map_or((rest, None), |(what, group)| (what, Some(group)));
            let grant = match what {
                "joinLeaveGroup" => &mut join,
                "sendToGroup" => &mut send,
                _ => continue,
            };
            match group {
                None => *grant = None,
                Some(group) => {
                    if let Some(groups) = grant {
                        groups.push(group.into());
                    }
                }
            }
        }
        let grant =
            |groups: Option<Vec<Box<str>>>| groups.map_or(Grant::Every, |some| Grant::Only(some.into()));
        let roles = Self { join: grant(join), send: grant(send) };
        (roles != Self::default()).then_some(roles)
    }

    /// Whether the client may join and leave the group.
    pub fn may_join(&self, group: &str) -> bool {
        self.join.covers(group)
    }

    /// Whether the client may send to the group.
    pub fn may_send(&self, group: &str) -> bool {
        self.send.covers(group)
    }
}

#[cfg(test)]
mod tests {
    use super::Roles;

    #[test]
    fn a_role_grants_its_permission_on_its_group_only() {
        let roles = |names: &[&'static str]| Roles::from_claims(names.iter().copied());
        assert_eq!(roles(&["admin", "webpubsub.", "chappe.rule", "sendToGroup"]), None);
        let some = roles(&["webpubsub.joinLeaveGroup.a.b", "chappe.sendToGroup"]).unwrap();
        assert!(some.may_join("a.b") && !some.may_join("a") && !some.may_join("c"));
        assert!(some.may_send("a.b") && some.may_send("anything"));
        let all = roles(&["chappe.joinLeaveGroup.x", "chappe.joinLeaveGroup"]).unwrap();
        assert!(all.may_join("y") && !all.may_send("y"));
    }
}
