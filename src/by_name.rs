//! A few things by name, in its order. A sorted list: a `BTreeMap` is some kilobytes of wasm for each type that it holds.

use std::collections::BTreeMap;
use std::fmt;

/// Things by name.
#[derive(Clone, PartialEq, Eq)]
pub struct ByName<T>(Vec<(String, T)>);

impl<T> ByName<T> {
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| own.as_str().cmp(name))
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&T> {
        let (_, thing) = self.0.get(self.place(name).ok()?)?;
        Some(thing)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        let place = self.place(name).ok()?;
        let (_, thing) = self.0.get_mut(place)?;
        Some(thing)
    }

    /// Adds one, in the place of another of that name.
    pub fn insert(&mut self, name: String, thing: T) {
        match self.place(&name) {
            Ok(place) => {
                if let Some(slot) = self.0.get_mut(place) {
                    *slot = (name, thing);
                }
            }
            Err(place) => self.0.insert(place, (name, thing)),
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        let place = self.place(name).ok()?;
        Some(self.0.remove(place).1)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &T)> {
        self.0.iter().map(|(name, thing)| (name, thing))
    }

    /// Their names.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// All of them without their names.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, thing)| thing)
    }
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: fmt::Debug> fmt::Debug for ByName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<T> From<BTreeMap<String, T>> for ByName<T> {
    fn from(map: BTreeMap<String, T>) -> Self {
        Self(map.into_iter().collect())
    }
}

impl<T: Clone> From<&BTreeMap<String, T>> for ByName<T> {
    fn from(map: &BTreeMap<String, T>) -> Self {
        map.clone().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_map_is(steps: Vec<(bool, u8, u16)>) {
            let (mut ours, mut theirs) = (ByName::default(), BTreeMap::new());
            for (adds, name, thing) in steps {
                let name = format!("{}", name % 16);
                if adds {
                    ours.insert(name.clone(), thing);
                    theirs.insert(name.clone(), thing);
                } else {
                    prop_assert_eq!(ours.remove(&name), theirs.remove(&name));
                }
                prop_assert_eq!(ours.get(&name), theirs.get(&name));
                prop_assert_eq!(ours.get_mut(&name), theirs.get_mut(&name));
                prop_assert!(ours.iter().eq(theirs.iter()));
                prop_assert_eq!(ours.len(), theirs.len());
            }
            prop_assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
            prop_assert_eq!(ours, ByName::from(theirs));
        }
    }
}
