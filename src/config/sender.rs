//! The settings of a sender that is configured: its scheme, and where its events say what.

use std::time::Duration;

use super::Setting;

use super::{Parser, Table};
use crate::auth::scheme::{Algorithm, Form, KeyProblem, KeyText, SETTINGS, Scheme};
use crate::auth::{Authentication, KeyId, MAX_KEYS, Stale};
use crate::by_name::ByName;
use crate::event::{Pointer, fits_attribute};
use crate::provider::RetryPolicy;
use crate::provider::configured::{Place, Sender, is_canonical_type, is_word};
use crate::provider::preset::{PRESETS, Preset, preset};
use crate::time::Timestamp;

/// The settings that only such a source has.
pub(super) const ONLY_CONFIGURED: [&str; 4] = ["preset", "scheme", "event", "types"];
const API_KEY: &str = "api_key";

/// What the settings say of a sender. What is faulty is `None`.
pub(super) struct Configured<'t> {
    pub(super) form: Option<Form>,
    pub(super) sender: Option<Sender>,
    keys: Vec<NamedKey<'t>>,
    /// Whether those are all of them.
    keys_sound: bool,
    /// Where its setting is, the secret's name, its value.
    api_key: Option<(String, String, String)>,
}

/// A key, and where it stands.
pub(super) struct NamedKey<'t> {
    pub(super) path: String,
    pub(super) secret: &'t str,
    pub(super) id: KeyId,
    pub(super) not_after: Option<Timestamp>,
    pub(super) value: String,
}

impl NamedKey<'_> {
    pub(super) fn text(&self) -> KeyText<'_> {
        KeyText {
            id: self.id.clone(),
            not_after: self.not_after,
            text: &self.value,
        }
    }
}

impl Parser<'_> {
    /// Reads all that is the sender's own.
    pub(super) fn configured<'t>(&mut self, table: &Table<'t>) -> Configured<'t> {
        let preset = self.preset(table);
        if preset.is_none() && table.get("preset").is_none() && table.get("scheme").is_none() {
            self.fault(
                &table.at("scheme"),
                "is missing: say how the sender signs, or name a preset",
            );
        }
        let (form, api_key) = self.form(table, preset);
        let algorithm = form.as_ref().map(Form::algorithm);
        self.check_unsigned(table, algorithm);
        let (keys, keys_sound) = match algorithm {
            Some(Algorithm::None) => {
                if table.get("keys").is_some() {
                    self.fault(&table.at("keys"), "doesn't go with algorithm = \"none\"");
                }
                (Vec::new(), true)
            }
            _ => self.named_keys(table, "keys"),
        };
        let sender = self.sender(table, preset, form.as_ref());
        Configured {
            form,
            sender,
            keys,
            keys_sound,
            api_key,
        }
    }

    /// The scheme, with its keys.
    pub(super) fn scheme(
        &mut self,
        configured: Configured<'_>,
        tolerance: Duration,
        stale: Stale,
    ) -> Option<Authentication> {
        let keys = configured.keys;
        let texts: Vec<KeyText<'_>> = keys.iter().map(NamedKey::text).collect();
        let scheme = match Scheme::new(configured.form?, &texts, tolerance, stale) {
            Ok(scheme) => scheme,
            Err(problems) => {
                self.key_problems(&keys, problems);
                return None;
            }
        };
        if !configured.keys_sound {
            return None;
        }
        let scheme = match configured.api_key {
            None => scheme,
            Some((path, name, text)) => match scheme.with_api_key(&text) {
                Ok(scheme) => scheme,
                Err(problem) => {
                    self.fault(&path, format!("the secret {name} {problem}"));
                    return None;
                }
            },
        };
        Some(Authentication::Configured(Box::new(scheme)))
    }

    pub(super) fn key_problems(
        &mut self,
        keys: &[NamedKey<'_>],
        problems: Vec<(usize, KeyProblem)>,
    ) {
        for (place, problem) in problems {
            if let Some(key) = keys.get(place) {
                self.fault(&key.path, format!("the secret {} {problem}", key.secret));
            }
        }
    }

    fn preset(&mut self, table: &Table<'_>) -> Option<&'static Preset> {
        let name = self.text(table, "preset", false)?;
        let known = preset(name);
        if known.is_none() {
            let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
            self.fault(
                &table.at("preset"),
                format!("isn't one of {}", names.join(", ")),
            );
        }
        known
    }

    fn check_unsigned(&mut self, table: &Table<'_>, algorithm: Option<Algorithm>) {
        let accepted = self.bool(table, "accept_unsigned");
        let path = table.at("accept_unsigned");
        match (algorithm, accepted) {
            (Some(Algorithm::None), Some(true)) => {}
            (Some(Algorithm::None), _) => {
                self.fault(&path, "has to be true: anybody who knows the URL can send");
            }
            (Some(_), Some(true)) => self.fault(&path, "is for algorithm = \"none\""),
            _ => {}
        }
    }

    /// The scheme's form: the preset's, with what the settings change. And the API key.
    fn form(
        &mut self,
        table: &Table<'_>,
        preset: Option<&'static Preset>,
    ) -> (Option<Form>, Option<(String, String, String)>) {
        let path = table.at("scheme");
        let mut settings = preset.map(|preset| preset.scheme).unwrap_or_default();
        let known: Vec<&str> = SETTINGS.into_iter().chain([API_KEY]).collect();
        let scheme = match table.get("scheme") {
            Some(value) => self.table(&path, value, &known),
            None => None,
        };
        let mut api_key = None;
        let before = self.faults.len();
        if let Some(scheme) = &scheme {
            for name in SETTINGS {
                let text = self.text(scheme, name, false);
                if let (Some(text), Some(slot)) = (text, settings.slot(name)) {
                    *slot = Some(text);
                }
            }
            if let Some(value) = scheme.get(API_KEY) {
                let path = scheme.at(API_KEY);
                let inner = self.table(&path, value, &["secret"]);
                api_key = inner.and_then(|inner| {
                    let (name, value) = self.secret(&inner, "secret")?;
                    Some((inner.at("secret"), name.to_owned(), value.to_owned()))
                });
                if settings.api_key_header.is_none() {
                    self.fault(&path, "needs api_key_header");
                }
            }
        }
        let there = scheme.as_ref().is_some_and(|s| s.get(API_KEY).is_some());
        if settings.api_key_header.is_some() && !there {
            let path = format!("{path}.{API_KEY}");
            self.fault(
                &path,
                "is missing: { secret = \"…\" }, the key that the sender presents",
            );
        }
        let given = preset.is_some() || scheme.is_some();
        if !given {
            return (None, None);
        }
        let form = match settings.compile() {
            Ok(form) => Some(form),
            Err(faults) => {
                for fault in faults {
                    self.fault(&format!("{path}.{}", fault.setting), fault.problem);
                }
                None
            }
        };
        (form.filter(|_| self.faults.len() == before), api_key)
    }

    pub(super) fn named_keys<'t>(
        &mut self,
        table: &Table<'t>,
        list: &str,
    ) -> (Vec<NamedKey<'t>>, bool) {
        let mut keys: Vec<NamedKey<'t>> = Vec::new();
        let mut sound = true;
        for (path, value) in self.array(table, list, true) {
            let Some(table) = self.table(&path, value, &["id", "secret", "not_after"]) else {
                sound = false;
                continue;
            };
            let id = self.key_id(&table);
            let not_after = self.not_after(&table);
            if let Some(id) = &id
                && keys.iter().any(|key| key.id == *id)
            {
                self.fault(&table.at("id"), "is the id of another key");
            }
            let secret = self
                .secret(&table, "secret")
                .map(|(name, value)| (name, value.to_owned()));
            match (id, secret) {
                (Some(id), Some((secret, value))) => keys.push(NamedKey {
                    path: table.at("secret"),
                    secret,
                    id,
                    not_after,
                    value,
                }),
                _ => sound = false,
            }
        }
        self.check_count(table, list, MAX_KEYS);
        let counted = !keys.is_empty() && keys.len() <= MAX_KEYS;
        (keys, sound && counted)
    }

    fn sender(
        &mut self,
        table: &Table<'_>,
        preset: Option<&'static Preset>,
        form: Option<&Form>,
    ) -> Option<Sender> {
        let before = self.faults.len();
        let path = table.at("event");
        let known = [
            "id",
            "type",
            "fixed_type",
            "time",
            "time_unit",
            "subject",
            "subject_type",
        ];
        let event = match table.get("event") {
            Some(value) => self.table(&path, value, &known),
            None => None,
        };
        let event = event.as_ref();
        let of_preset = preset.map(|preset| preset.event).unwrap_or_default();
        let id = self.place(&path, event, "id", of_preset.id, form);
        let event_type = self.place(&path, event, "type", of_preset.r#type, form);
        let time = self.place(&path, event, "time", of_preset.time, form);
        let subject = self.place(&path, event, "subject", of_preset.subject, form);
        let word = |parser: &mut Self, name| {
            let text = event.and_then(|event| parser.text(event, name, false));
            text.map(str::to_owned)
        };
        let fixed_type = word(self, "fixed_type");
        if fixed_type.is_some() && event.is_some_and(|event| event.get("type").is_some()) {
            self.fault(&format!("{path}.fixed_type"), "can't go with type");
        }
        if fixed_type
            .as_deref()
            .is_some_and(|text| !fits_attribute(text))
        {
            self.fault(
                &format!("{path}.fixed_type"),
                "isn't text of 1 to 256 printable characters",
            );
        }
        let subject_type = word(self, "subject_type");
        if let Some(kind) = &subject_type {
            let path = format!("{path}.subject_type");
            if !is_word(kind) {
                self.fault(&path, "isn't a word of lower-case letters, digits and _");
            }
            if subject.is_none() {
                self.fault(&path, "needs subject");
            }
        }
        let unit = event
            .and_then(|event| self.choice(event, "time_unit", &["seconds", "milliseconds"], false));
        let types = self.types(table);
        let environment = table.get("environment").and_then(Setting::as_str);
        let sender = Sender {
            name: preset.map_or("configured", |preset| preset.name),
            retry: preset.map_or(RetryPolicy::Unknown, |preset| preset.retry),
            challenges: preset.is_some_and(|preset| preset.challenges),
            id,
            event_type,
            fixed_type,
            time,
            time_in_millis: unit == Some("milliseconds"),
            subject,
            subject_type,
            types,
            environment: environment.map(str::to_owned),
        };
        (self.faults.len() == before).then_some(sender)
    }

    /// Where something of an event is. A header that the signature doesn't cover could be anybody's.
    fn place(
        &mut self,
        path: &str,
        event: Option<&Table<'_>>,
        name: &str,
        of_preset: Option<&'static str>,
        form: Option<&Form>,
    ) -> Option<Place> {
        let given = event.and_then(|event| self.text(event, name, false));
        let text = given.or(of_preset)?;
        let path = format!("{path}.{name}");
        let Some(header) = text.strip_prefix("header:") else {
            let pointer = Pointer::parse(text);
            if pointer.is_none() {
                self.fault(
                    &path,
                    "isn't a JSON pointer such as /data/id, nor header:<name>",
                );
            }
            return pointer.map(Place::Pointer);
        };
        let form = form?;
        let is = |covered: Option<&str>| covered.is_some_and(|c| c.eq_ignore_ascii_case(header));
        if is(form.id_header()) {
            return Some(Place::SignedId);
        }
        if is(form.time_header()) {
            if name == "time" {
                return Some(Place::SignedTime);
            }
            self.fault(
                &path,
                "is the header of the time, which tells no event from another",
            );
            return None;
        }
        self.fault(
            &path,
            "is a header that the signature doesn't cover: anybody could change it",
        );
        None
    }

    fn types(&mut self, table: &Table<'_>) -> ByName<String> {
        let path = table.at("types");
        let mut types = ByName::default();
        let map = match table.get("types") {
            None => return types,
            Some(Setting::Object(map)) => map,
            Some(_) => {
                self.fault(
                    &path,
                    "isn't a table of the sender's types to canonical ones",
                );
                return types;
            }
        };
        for (theirs, ours) in map.iter() {
            match ours.as_str().filter(|text| is_canonical_type(text)) {
                Some(ours) => {
                    types.insert(theirs.clone(), ours.to_owned());
                }
                None => self.fault(
                    &format!("{path}.{theirs}"),
                    "isn't a canonical type of the form rx.<word>.<word>",
                ),
            }
        }
        types
    }
}
