//! What a source says of callbacks that are waited for.

use std::time::Duration;

use super::{DELIVERIES, Dedupe, MIN_OPERATOR_KEY_BYTES, Parser, Table};
use crate::auth::Keyring;
use crate::provider::Provider;

/// "PHIL will wait for 4 hours for the expected callback".
const DEFAULT_HOURS: u64 = 4;
/// No callback is waited for longer.
const MAX_HOURS: u64 = 720;

/// Which callbacks are to come.
#[derive(Clone, Debug)]
pub struct Expecting {
    /// Who may say so.
    pub keys: Keyring,
    /// How long after its request a callback is due.
    pub within: Duration,
    /// Whether a callback that nobody expects is refused.
    pub required: bool,
}

impl Parser<'_> {
    /// `None` if nothing is expected, or if what is said of it is faulty.
    pub(super) fn expecting(
        &mut self,
        table: &Table<'_>,
        provider: Option<Provider>,
        window: Duration,
        dedupe: Dedupe,
    ) -> Option<Expecting> {
        let names = ["expectation_keys", "callback_hours", "require_expectation"];
        let given = |name: &&str| table.get(name).is_some();
        if provider != Some(Provider::PhilCallback) {
            for name in names.into_iter().filter(given) {
                self.fault(&table.at(name), "is for provider = \"phil-callback\"");
            }
            return None;
        }
        let path = table.at("expectation_keys");
        if table.get("expectation_keys").is_none() {
            for name in names.into_iter().filter(given) {
                self.fault(
                    &table.at(name),
                    "needs expectation_keys: without them nothing is expected",
                );
            }
            return None;
        }
        let keys = self.keys(table, "expectation_keys", MIN_OPERATOR_KEY_BYTES);
        for (path, name, other) in self.shared(table) {
            self.fault(
                &path,
                format!("the secret {name} is in {other}, too: who has one of the two keys mustn't have the other"),
            );
        }
        let hours = self.integer(table, "callback_hours", 1..=MAX_HOURS);
        let within = Duration::from_secs(3600 * hours.unwrap_or(DEFAULT_HOURS));
        let required = self.bool(table, "require_expectation").unwrap_or(false);
        if within >= window {
            self.fault(
                &table.at("callback_hours"),
                "isn't shorter than dedupe_window_days: a callback would be forgotten before it is due",
            );
        }
        if !self.bindings.has_queue(DELIVERIES) {
            self.fault(
                &path,
                "needs our own queue, by which the notice goes: bind one under DELIVERIES",
            );
        }
        if dedupe == Dedupe::Kv {
            self.fault(
                &path,
                "needs dedupe = \"exact\": KV can't tell whether a callback came",
            );
        }
        Some(Expecting {
            keys: keys?,
            within,
            required,
        })
    }

    /// Expectation keys that let in elsewhere as well: their paths, the names of the secrets, and where else.
    fn shared(&self, table: &Table<'_>) -> Vec<(String, String, String)> {
        let own = table.at("expectation_keys");
        let keys = table.get("expectation_keys").and_then(|v| v.as_array());
        let keys = keys.into_iter().flatten().enumerate();
        let named = keys.filter_map(|(place, key)| {
            let name = key.get("secret")?.as_str()?;
            let secret = self.secrets.get(name)?;
            let holds = |names: &Vec<String>| {
                let mut values = names.iter().filter_map(|name| self.secrets.get(name));
                values.any(|value| value == secret)
            };
            let mut others = self.held.iter();
            let (other, _) = others.find(|(path, names)| *path != own && holds(names))?;
            let path = format!("{own}[{place}].secret");
            Some((path, name.to_owned(), other.clone()))
        });
        named.collect()
    }
}
