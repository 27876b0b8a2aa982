//! A scheme's form, from its settings: every fault named, all at once.

use std::fmt::Display;

use super::algorithm::{Algorithm, KeyEncoding};
use super::encoding::Encoding;
use super::template::{Placeholder, Template};
use super::{MAX_ID_BYTES, MAX_TIMESTAMP_DIGITS};
use crate::bytes::{Base64, find, header_name};

/// Longer names of headers, and longer prefixes, are faults.
pub(super) const MAX_NAME_BYTES: usize = 64;

/// The settings of a scheme, as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings<'a> {
    /// One of [`Algorithm::ALL`].
    pub algorithm: Option<&'a str>,
    /// The header of the signature, or of the token.
    pub header: Option<&'a str>,
    /// What stands in front of each signature.
    pub prefix: Option<&'a str>,
    /// The character between the signatures of a list; without it the header is one signature.
    pub separator: Option<&'a str>,
    /// One of [`Encoding::ALL`].
    pub encoding: Option<&'a str>,
    /// The [template](Template).
    pub signed: Option<&'a str>,
    /// The header of the time.
    pub timestamp_header: Option<&'a str>,
    /// What stands in front of the time, as an element of the signature header's list.
    pub timestamp_prefix: Option<&'a str>,
    /// `seconds` or `milliseconds`.
    pub timestamp_unit: Option<&'a str>,
    /// A header that has to repeat the time.
    pub timestamp_copy_header: Option<&'a str>,
    /// The header of the id.
    pub id_header: Option<&'a str>,
    /// One of [`KeyEncoding::ALL`].
    pub key_encoding: Option<&'a str>,
    /// The header of a static text that has to be there as well.
    pub api_key_header: Option<&'a str>,
}

/// The names of the settings, as they stand in the configuration.
pub const SETTINGS: [&str; 13] = [
    "algorithm",
    "header",
    "prefix",
    "separator",
    "encoding",
    "signed",
    "timestamp_header",
    "timestamp_prefix",
    "timestamp_unit",
    "timestamp_copy_header",
    "id_header",
    "key_encoding",
    "api_key_header",
];

/// What is wrong with one of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormFault {
    /// Its name.
    pub setting: &'static str,
    /// What is wrong.
    pub problem: String,
}

/// Where the time is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    None,
    /// At this place among the other headers.
    Header(usize),
    /// In the signature header, behind this.
    Element(String),
}

/// A scheme without its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    pub(super) algorithm: Algorithm,
    pub(super) key_encoding: KeyEncoding,
    pub(super) header: Option<String>,
    pub(super) prefix: String,
    pub(super) separator: Option<char>,
    pub(super) encoding: Encoding,
    pub(super) template: Template,
    pub(super) clock: Clock,
    pub(super) clock_copy: Option<usize>,
    pub(super) in_millis: bool,
    pub(super) id: Option<usize>,
    pub(super) api_key: Option<usize>,
    /// The headers besides the signature's.
    pub(super) more: Vec<String>,
}

impl<'a> Settings<'a> {
    /// The setting of that name.
    pub fn slot(&mut self, name: &str) -> Option<&mut Option<&'a str>> {
        Some(match name {
            "algorithm" => &mut self.algorithm,
            "header" => &mut self.header,
            "prefix" => &mut self.prefix,
            "separator" => &mut self.separator,
            "encoding" => &mut self.encoding,
            "signed" => &mut self.signed,
            "timestamp_header" => &mut self.timestamp_header,
            "timestamp_prefix" => &mut self.timestamp_prefix,
            "timestamp_unit" => &mut self.timestamp_unit,
            "timestamp_copy_header" => &mut self.timestamp_copy_header,
            "id_header" => &mut self.id_header,
            "key_encoding" => &mut self.key_encoding,
            "api_key_header" => &mut self.api_key_header,
            _ => return None,
        })
    }

    /// The form, or all that is wrong.
    pub fn compile(mut self) -> Result<Form, Vec<FormFault>> {
        let mut faults = Faults(Vec::new());
        let algorithm = faults.choice(
            "algorithm",
            self.algorithm,
            &Algorithm::ALL,
            Algorithm::name,
        );
        let Some(algorithm) = algorithm else {
            if self.algorithm.is_none() {
                faults.add("algorithm", "is missing");
            }
            return Err(faults.0);
        };
        self.forbid_what_it_hasnt(algorithm, &mut faults);
        let header = match algorithm {
            Algorithm::None => None,
            Algorithm::Basic => Some("authorization".to_owned()),
            Algorithm::Token => Some(
                faults
                    .header("header", self.header)
                    .unwrap_or_else(|| "authorization".to_owned()),
            ),
            _ => {
                if self.header.is_none() {
                    faults.add("header", "is missing");
                }
                faults.header("header", self.header)
            }
        };
        let mut more: Vec<String> = Vec::new();
        let mut place = |faults: &mut Faults, setting, name: Option<&str>| {
            let name = faults.header(setting, name)?;
            if header.as_ref() == Some(&name) || more.contains(&name) {
                faults.add(setting, "is the header of another setting as well");
                return None;
            }
            more.push(name);
            Some(more.len() - 1)
        };
        let clock_header = place(&mut faults, "timestamp_header", self.timestamp_header);
        let clock_copy = place(
            &mut faults,
            "timestamp_copy_header",
            self.timestamp_copy_header,
        );
        let id = place(&mut faults, "id_header", self.id_header);
        let api_key = place(&mut faults, "api_key_header", self.api_key_header);
        let clock = match (clock_header, self.timestamp_prefix) {
            (None, None) => Clock::None,
            (None, Some(prefix)) => Clock::Element(prefix.to_owned()),
            (Some(place), None) => Clock::Header(place),
            (Some(_), Some(_)) => {
                faults.add("timestamp_prefix", "can't go with timestamp_header");
                Clock::None
            }
        };
        self.check_clock(&clock, &mut faults);
        for (setting, text) in [
            ("prefix", self.prefix),
            ("timestamp_prefix", self.timestamp_prefix),
        ] {
            if text.is_some_and(|text| text.len() > MAX_NAME_BYTES) {
                faults.add(setting, format!("is longer than {MAX_NAME_BYTES} bytes"));
            }
        }
        let separator = self.separator.and_then(|text| {
            let mut chars = text.chars();
            let one = chars
                .next()
                .filter(|c| c.is_ascii() && !c.is_ascii_alphanumeric());
            let one = one.filter(|_| chars.next().is_none());
            if one.is_none() {
                faults.add(
                    "separator",
                    "isn't one character that is neither letter nor digit",
                );
            }
            one
        });
        let encoding = faults.choice("encoding", self.encoding, &Encoding::ALL, Encoding::name);
        self.check_list(separator, encoding.unwrap_or_default(), &mut faults);
        let allowed = algorithm.key_encodings();
        let key_encoding = faults.choice(
            "key_encoding",
            self.key_encoding,
            allowed,
            KeyEncoding::name,
        );
        let template = self.template(&mut faults);
        let in_millis = self.timestamp_unit == Some("milliseconds");
        if faults.0.is_empty()
            && let Some(template) = template
        {
            Ok(Form {
                algorithm,
                key_encoding: key_encoding
                    .or(allowed.first().copied())
                    .unwrap_or(KeyEncoding::Text),
                header,
                prefix: self.prefix.unwrap_or_default().to_owned(),
                separator,
                encoding: encoding.unwrap_or_default(),
                template,
                clock,
                clock_copy,
                in_millis,
                id,
                api_key,
                more,
            })
        } else {
            Err(faults.0)
        }
    }

    /// A token or nothing covers nothing, so there is nothing to say of it.
    fn forbid_what_it_hasnt(&mut self, algorithm: Algorithm, faults: &mut Faults) {
        let allowed: &[&str] = match algorithm {
            Algorithm::Token => &["algorithm", "header", "prefix"],
            Algorithm::Basic | Algorithm::None => &["algorithm"],
            _ => return,
        };
        for name in SETTINGS.iter().filter(|name| !allowed.contains(name)) {
            if self.slot(name).is_some_and(|slot| slot.take().is_some()) {
                let algorithm = algorithm.name();
                faults.add(name, format!("doesn't go with algorithm = \"{algorithm}\""));
            }
        }
    }

    /// What the sender writes has to be read as that: a scheme whose own signatures, or one in a few of them, can't be told from its separators and times refuses what is authentic.
    fn check_list(&self, separator: Option<char>, encoding: Encoding, faults: &mut Faults) {
        let texts = [
            ("prefix", self.prefix),
            ("timestamp_prefix", self.timestamp_prefix),
        ];
        for (setting, text) in texts {
            let Some(text) = text else { continue };
            // Nothing that reads headers has it.
            if text.starts_with([' ', '\t']) {
                faults.add(setting, "begins with a space");
            }
            if separator.is_some_and(|separator| text.chars().any(|c| c == separator)) {
                faults.add(setting, "has the separator in it");
            }
        }
        if separator.is_some_and(|separator| encoding.writes(separator)) {
            let name = encoding.name();
            faults.add("separator", format!("is a character of {name} as well"));
        }
        let Some(clock) = self.timestamp_prefix else {
            return;
        };
        let prefix = self.prefix.unwrap_or_default();
        let into_signature = clock.strip_prefix(prefix);
        // Padding stands at the end alone.
        let may_begin = |c| encoding.writes(c) && c != '=';
        let taken = |rest: &str| !rest.is_empty() && rest.chars().all(may_begin);
        if prefix != clock && (prefix.starts_with(clock) || into_signature.is_some_and(taken)) {
            faults.add(
                "timestamp_prefix",
                "may be the beginning of a signature as well",
            );
        }
    }

    fn check_clock(&self, clock: &Clock, faults: &mut Faults) {
        if *clock == Clock::None {
            for (setting, text) in [
                ("timestamp_unit", self.timestamp_unit),
                ("timestamp_copy_header", self.timestamp_copy_header),
            ] {
                if text.is_some() {
                    faults.add(setting, "needs timestamp_header or timestamp_prefix");
                }
            }
        }
        if self.timestamp_prefix.is_some() && self.separator.is_none() {
            faults.add("timestamp_prefix", "needs a separator");
        }
        if self.timestamp_prefix == Some(self.prefix.unwrap_or_default()) {
            faults.add(
                "timestamp_prefix",
                "is the prefix of the signatures as well",
            );
        }
        let units = ["seconds", "milliseconds"];
        if self
            .timestamp_unit
            .is_some_and(|unit| !units.contains(&unit))
        {
            faults.add("timestamp_unit", "isn't one of seconds, milliseconds");
        }
    }

    /// The template, which has to cover what is read and can't cover what isn't.
    fn template(&self, faults: &mut Faults) -> Option<Template> {
        let template = match Template::parse(self.signed.unwrap_or("{body}")) {
            Ok(template) => template,
            Err(fault) => {
                faults.add("signed", fault);
                return None;
            }
        };
        let id = self.id_header.map(|_| "id_header");
        let timestamp = match (self.timestamp_header, self.timestamp_prefix) {
            (Some(_), _) => Some("timestamp_header"),
            (None, Some(_)) => Some("timestamp_prefix"),
            (None, None) => None,
        };
        for (placeholder, setting, needed) in [
            (Placeholder::Id, id, "id_header"),
            (
                Placeholder::Timestamp,
                timestamp,
                "timestamp_header or timestamp_prefix",
            ),
        ] {
            let name = placeholder.name();
            match (template.covers(placeholder), setting) {
                (true, None) => {
                    faults.add("signed", format!("covers {{{name}}}: that needs {needed}"));
                }
                (false, Some(setting)) => {
                    faults.add(setting, format!("isn't covered: signed has no {{{name}}}"));
                }
                _ => {}
            }
        }
        Some(template)
    }
}

impl Form {
    /// How requests are authenticated.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether there is a time that the signature covers.
    pub fn has_time(&self) -> bool {
        self.clock != Clock::None
    }

    /// The header of the id that the signature covers.
    pub fn id_header(&self) -> Option<&str> {
        self.more.get(self.id?).map(String::as_str)
    }

    /// The header of the time that the signature covers.
    pub fn time_header(&self) -> Option<&str> {
        match self.clock {
            Clock::Header(place) => self.more.get(place).map(String::as_str),
            _ => None,
        }
    }

    /// Whether a static text has to be there as well.
    pub fn has_api_key(&self) -> bool {
        self.api_key.is_some()
    }

    /// All headers that it reads.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        let all = self.header.iter().chain(&self.more);
        all.map(String::as_str)
    }

    /// The headers that prove something to whoever gets the sender's own bytes: none of a secret.
    pub fn headers_to_pass_on(&self) -> impl Iterator<Item = &str> {
        let secret = self.api_key.and_then(|place| self.more.get(place));
        let signs = self.algorithm.signs();
        let isnt_secret = move |name: &&str| signs && secret.is_none_or(|secret| secret != name);
        self.headers().filter(isnt_secret)
    }

    /// Milliseconds of one of the sender's units of time.
    pub(super) fn millis(&self) -> i64 {
        if self.in_millis { 1 } else { 1000 }
    }

    pub(super) fn max_digits(&self) -> usize {
        MAX_TIMESTAMP_DIGITS + if self.in_millis { 3 } else { 0 }
    }

    /// Whether the header of the id holds one: what follows it in the template may not be in it, or its end wouldn't be signed.
    pub(super) fn takes_id(&self, id: &str) -> bool {
        let printable = id.bytes().all(|b| b.is_ascii_graphic());
        let after = self.template.after(Placeholder::Id);
        (1..=MAX_ID_BYTES).contains(&id.len())
            && printable
            && after.is_none_or(|text| find(id, text).is_none())
    }

    /// The token in a header's value. `None` if it isn't of the form.
    pub(super) fn presented(&self, value: &str) -> Option<Vec<u8>> {
        let after = |prefix: &str| {
            let (head, rest) = value.split_at_checked(prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then_some(rest)
        };
        match self.algorithm {
            Algorithm::Basic => Base64::Standard.read(after("Basic ")?.trim()),
            _ => after(&self.prefix).map(|text| text.as_bytes().to_vec()),
        }
    }
}

struct Faults(Vec<FormFault>);

impl Faults {
    fn add(&mut self, setting: &'static str, problem: impl Display) {
        self.0.push(FormFault {
            setting,
            problem: problem.to_string(),
        });
    }

    /// A header's name, in lower case.
    fn header(&mut self, setting: &'static str, name: Option<&str>) -> Option<String> {
        let name = name?;
        let parsed = header_name(name).filter(|_| name.len() <= MAX_NAME_BYTES);
        if parsed.is_none() {
            self.add(setting, "isn't the name of a header");
        }
        parsed
    }

    fn choice<T: Copy>(
        &mut self,
        setting: &'static str,
        text: Option<&str>,
        choices: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let text = text?;
        let chosen = choices.iter().copied().find(|choice| name(*choice) == text);
        if chosen.is_none() && !choices.is_empty() {
            let names: Vec<&str> = choices.iter().map(|choice| name(*choice)).collect();
            self.add(setting, format!("isn't one of {}", names.join(", ")));
        }
        chosen
    }
}
