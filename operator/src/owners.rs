//! Which HPAs were made for which scaled object, both ways: an object whose HPA is renamed, twice perhaps or while the
//! operator dies, must lose every HPA but one, and none of them can be found by a name that somebody remembers.

use std::collections::{BTreeMap, BTreeSet};

use crate::key::ObjectKey;

/// An index over the labels of the HPAs that are seen.
#[derive(Debug, Default)]
pub struct Owners {
    owner_of: BTreeMap<ObjectKey, ObjectKey>,
    owned_by: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
}

impl Owners {
    /// Takes in that `hpa` was made for `owner`, or is gone; gives those who should be looked at: the owner it had and
    /// the one it has.
    pub fn set(&mut self, hpa: &ObjectKey, owner: Option<ObjectKey>) -> BTreeSet<ObjectKey> {
        let before = match &owner {
            Some(owner) => self.owner_of.insert(hpa.clone(), owner.clone()),
            None => self.owner_of.remove(hpa),
        };
        if let Some(before) = before.as_ref().filter(|before| Some(*before) != owner.as_ref())
            && let Some(owned) = self.owned_by.get_mut(before)
        {
            owned.remove(hpa);
            if owned.is_empty() {
                self.owned_by.remove(before);
            }
        }
        if let Some(owner) = &owner {
            self.owned_by.entry(owner.clone()).or_default().insert(hpa.clone());
        }
        before.into_iter().chain(owner).collect()
    }

    /// The HPAs that were made for `owner`.
    pub fn of(&self, owner: &ObjectKey) -> impl Iterator<Item = &ObjectKey> {
        self.owned_by.get(owner).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hpa_is_found_by_its_owner_until_it_is_gone_or_another_s() {
        let key = |name: &str| ObjectKey::new("ns", name);
        let mut owners = Owners::default();
        assert_eq!(owners.set(&key("hpa-1"), Some(key("a"))), [key("a")].into());
        assert_eq!(owners.set(&key("hpa-2"), Some(key("a"))), [key("a")].into());
        // The same once more: the owner is to look at what changed in it.
        assert_eq!(owners.set(&key("hpa-2"), Some(key("a"))), [key("a")].into());
        assert!(owners.of(&key("a")).eq(&[key("hpa-1"), key("hpa-2")]));

        assert_eq!(owners.set(&key("hpa-2"), Some(key("b"))), [key("a"), key("b")].into());
        assert!(owners.of(&key("a")).eq(&[key("hpa-1")]) && owners.of(&key("b")).eq(&[key("hpa-2")]));
        assert_eq!(owners.set(&key("hpa-1"), None), [key("a")].into());
        assert_eq!(owners.of(&key("a")).count(), 0);
        assert!(owners.set(&key("hpa-1"), None).is_empty());
    }
}
