//! The settings as they were written, before anything is made of them.

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::json::{Index, Value};

/// A setting. A number is its digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(String),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Setting>),
    /// A table.
    Object(Settings),
}

/// A table of settings, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(Vec<(String, Setting)>);

impl Settings {
    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.iter()
            .find(|(own, _)| *own == name)
            .map(|(_, setting)| setting)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.iter().map(|(name, _)| name)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Setting)> {
        self.0.iter().map(|(name, setting)| (name, setting))
    }

    /// So that what is wrong is told in the same order wherever the settings come from.
    fn sorted(mut members: Vec<(String, Setting)>) -> Self {
        members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self(members)
    }
}

impl Setting {
    /// Reads JSON. `None` if it isn't.
    pub fn read(text: &str) -> Option<Self> {
        let index = Index::of(text).ok()?;
        Self::of(index.root(text))
    }

    fn of(value: Value<'_, '_>) -> Option<Self> {
        Some(if value.is_object() {
            let members = value.sorted_members();
            let members = members.map(|(name, value)| Some((name.into_owned(), Self::of(value)?)));
            Self::Object(Settings(members.collect::<Option<_>>()?))
        } else if value.is_array() {
            Self::Array(value.elements().map(Self::of).collect::<Option<_>>()?)
        } else if value.is_text() {
            Self::String(value.text()?.into_owned())
        } else if let Some(flag) = value.as_bool() {
            Self::Bool(flag)
        } else if let Some(digits) = value.digits() {
            Self::Number(digits.to_owned())
        } else {
            Self::Null
        })
    }

    /// A setting of a table.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    /// A table.
    pub fn as_object(&self) -> Option<&Settings> {
        match self {
            Self::Object(settings) => Some(settings),
            _ => None,
        }
    }

    /// A list.
    pub fn as_array(&self) -> Option<&Vec<Self>> {
        match self {
            Self::Array(list) => Some(list),
            _ => None,
        }
    }

    /// A text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Yes or no.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A whole number.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(digits) => digits.parse().ok(),
            _ => None,
        }
    }
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Number(digits) => crate::json::Raw::of_number(digits).serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(list) => serializer.collect_seq(list),
            Self::Object(settings) => {
                let mut map = serializer.serialize_map(Some(settings.len()))?;
                for (name, setting) in settings.iter() {
                    map.serialize_entry(name, setting)?;
                }
                map.end()
            }
        }
    }
}

impl From<&serde_json::Value> for Setting {
    fn from(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Bool(*flag),
            serde_json::Value::Number(number) => Self::Number(number.to_string()),
            serde_json::Value::String(text) => Self::String(text.clone()),
            serde_json::Value::Array(list) => Self::Array(list.iter().map(Self::from).collect()),
            serde_json::Value::Object(map) => Self::Object(map.into()),
        }
    }
}

impl From<&serde_json::Map<String, serde_json::Value>> for Settings {
    fn from(map: &serde_json::Map<String, serde_json::Value>) -> Self {
        let members = map.iter();
        Self::sorted(
            members
                .map(|(name, value)| (name.clone(), Setting::from(value)))
                .collect(),
        )
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = serde_json::Map::deserialize(deserializer)?;
        Ok(Self::from(&map))
    }
}
