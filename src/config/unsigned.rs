//! The settings of senders that sign nothing: what they have to bring instead.

use std::time::Duration;

use super::{DEFAULT_TOLERANCE, Parser, Table};
use crate::auth::scheme::{
    Door, Form, KeyText, MAX_NETWORKS, MIN_PATH_TOKEN_CHARS, Network, Scheme, Settings,
};
use crate::auth::{Authentication, Stale};
use crate::config::sender::NamedKey;
use crate::time::Zone;

/// The settings that only such a source has.
pub(super) const ONLY_EVITALRX: [&str; 5] = ["path_tokens", "header", "basic", "addresses", "zone"];
pub(super) const ONLY_PHIL: [&str; 1] = ["authorization_scheme"];

impl Parser<'_> {
    /// Where zoneless times were written.
    pub(super) fn zone(&mut self, table: &Table<'_>) -> Zone {
        let Some(text) = self.text(table, "zone", false) else {
            return Zone::default();
        };
        Zone::parse(text).unwrap_or_else(|| {
            self.fault(
                &table.at("zone"),
                "isn't Asia/Kolkata or an offset such as +05:30",
            );
            Zone::default()
        })
    }

    /// Settings that are for senders of another kind.
    pub(super) fn not_for(&mut self, table: &Table<'_>, names: &[&str], provider: &str) {
        for name in names {
            if table.get(name).is_some() {
                self.fault(&table.at(name), format!("is for provider = \"{provider}\""));
            }
        }
    }

    /// eVitalRx documents no authentication: so it is said what stands for it, and all of that has to hold.
    pub(super) fn door(&mut self, table: &Table<'_>) -> Option<Authentication> {
        let before = self.faults.len();
        if self.bool(table, "accept_unsigned") != Some(true) {
            self.fault(
                &table.at("accept_unsigned"),
                "has to be true: this sender signs nothing",
            );
        }
        let paths = match table.get("path_tokens") {
            Some(_) => self.named_keys(table, "path_tokens").0,
            None => Vec::new(),
        };
        for key in &paths {
            let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            if key.value.len() < MIN_PATH_TOKEN_CHARS || !key.value.bytes().all(unreserved) {
                let problem = format!(
                    "the secret {} isn't {MIN_PATH_TOKEN_CHARS} or more letters, digits, -, ., _ and ~: 128 bits that a path can hold",
                    key.secret
                );
                self.fault(&key.path, problem);
            }
        }
        let header = self.static_header(table);
        let networks = self.networks(table);
        let any = ["path_tokens", "header", "basic", "addresses"];
        if any.iter().all(|name| table.get(name).is_none()) {
            self.fault(
                &table.at("path_tokens"),
                "is missing: a sender that signs nothing needs path_tokens, header, basic or addresses",
            );
        }
        let texts: Vec<KeyText<'_>> = paths.iter().map(NamedKey::text).collect();
        match Door::new(&texts, header, networks) {
            Ok(door) if self.faults.len() == before => {
                door.map(Box::new).map(Authentication::Unsigned)
            }
            Ok(_) => None,
            Err(problems) => {
                self.key_problems(&paths, problems);
                None
            }
        }
    }

    /// PHIL's key stands in `Authorization`, bare or behind a word.
    pub(super) fn authorization(&mut self, table: &Table<'_>) -> Option<Authentication> {
        let word = self.text(table, "authorization_scheme", false);
        if word.is_some_and(|word| !word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')) {
            self.fault(
                &table.at("authorization_scheme"),
                "isn't a word such as Bearer",
            );
            return None;
        }
        let prefix = word.map(|word| format!("{word} "));
        let (keys, sound) = self.named_keys(table, "keys");
        let settings = Settings {
            algorithm: Some("token"),
            header: Some("authorization"),
            prefix: prefix.as_deref(),
            ..Settings::default()
        };
        let form = self.compiled(table, settings)?;
        let scheme = self.presented(form, &keys)?;
        sound.then(|| Authentication::Configured(Box::new(scheme)))
    }

    fn static_header(&mut self, table: &Table<'_>) -> Option<Scheme> {
        if table.get("header").is_some() && table.get("basic").is_some() {
            self.fault(&table.at("basic"), "can't go with header");
            return None;
        }
        if table.get("basic").is_some() {
            let (keys, _) = self.named_keys(table, "basic");
            let settings = Settings {
                algorithm: Some("basic"),
                ..Settings::default()
            };
            let form = self.compiled(table, settings)?;
            return self.presented(form, &keys);
        }
        let path = table.at("header");
        let header = self.table(&path, table.get("header")?, &["name", "prefix", "keys"])?;
        let name = self.text(&header, "name", true);
        let (keys, _) = self.named_keys(&header, "keys");
        let settings = Settings {
            algorithm: Some("token"),
            header: Some(name?),
            prefix: self.text(&header, "prefix", false),
            ..Settings::default()
        };
        let form = self.compiled(&header, settings)?;
        self.presented(form, &keys)
    }

    fn compiled(&mut self, table: &Table<'_>, settings: Settings<'_>) -> Option<Form> {
        match settings.compile() {
            Ok(form) => Some(form),
            Err(faults) => {
                for fault in faults {
                    self.fault(&table.at(fault.setting), fault.problem);
                }
                None
            }
        }
    }

    fn presented(&mut self, form: Form, keys: &[NamedKey<'_>]) -> Option<Scheme> {
        let texts: Vec<KeyText<'_>> = keys.iter().map(NamedKey::text).collect();
        let tolerance = Duration::from_secs(DEFAULT_TOLERANCE);
        match Scheme::new(form, &texts, tolerance, Stale::Refuse) {
            Ok(scheme) => Some(scheme),
            Err(problems) => {
                self.key_problems(keys, problems);
                None
            }
        }
    }

    fn networks(&mut self, table: &Table<'_>) -> Vec<Network> {
        let mut networks = Vec::new();
        for (path, value) in self.array(table, "addresses", false) {
            match value.as_str().and_then(Network::parse) {
                Some(network) => networks.push(network),
                None => self.fault(
                    &path,
                    "isn't an address or a range of them, such as 203.0.113.0/24 or 2001:db8::/32",
                ),
            }
        }
        self.check_count(table, "addresses", MAX_NETWORKS);
        networks
    }
}
