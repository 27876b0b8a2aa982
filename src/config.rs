//! The configuration: parsed once, every fault named by its path, all at once. A faulty source doesn't stop the others.

mod expecting;
mod sender;
mod setting;
mod unsigned;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use expecting::Expecting;
use serde::Deserialize;
pub use setting::{Setting, Settings};

use crate::auth::{
    Authentication, Key, KeyFault, KeyId, Keyring, MAX_SEAL_KEYS, MIN_KEY_BYTES, SealKey,
    SealKeyFault, SealKeys, Stale, TimestampedHmac,
};
use crate::by_name::ByName;
use crate::bytes::header_name;
use crate::delivery::{
    Format, MAX_SIGNING_KEYS, PERMANENT_STATUSES, Pattern, Route, SigningKey, SigningKeyFault,
    SigningKeys, TargetFault, check_target,
};
use crate::event::phi::{Action, Actions, Class, MIN_PHI_KEY_BYTES, Policy, PolicyFault};
use crate::json;
use crate::provider::{Expectations, Provider, RetryPolicy, UNKNOWN_TYPE};
use crate::time::{Timestamp, Zone};
use sender::{NamedKey, ONLY_CONFIGURED};
use unsigned::{ONLY_EVITALRX, ONLY_PHIL};

/// No body above this is ever taken.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The largest body that a source takes, unless it says otherwise.
pub const DEFAULT_BODY_BYTES: usize = 256 * 1024;
/// The platform's limit of one variable.
pub const MAX_VAR_BYTES: usize = 5 * 1024;
/// The platform's limit of variables and secrets.
pub const MAX_VARS: usize = 128;
/// Somebody may have put the secret itself where its name belongs: so the text isn't repeated, the path says which it is.
const NO_SECRET: &str = "isn't the name of a secret that there is";
const MAX_SHARDS: u64 = 4096;
const DEFAULT_SHARDS: u32 = 16;
const DEFAULT_TOLERANCE: u64 = 300;
const DEFAULT_WINDOW_DAYS: u64 = 7;
/// Of a sender that says nothing of retries, an event is remembered for at least so long.
const UNKNOWN_HORIZON: Duration = Duration::from_secs(72 * 3600);
const DEFAULT_LETTER_DAYS: u64 = 30;
const DEFAULT_SAMPLE: u64 = 100;
const DAY: u64 = 24 * 3600;
/// An operator's key has at least so many bytes.
pub const MIN_OPERATOR_KEY_BYTES: usize = 32;
/// The binding of our own queue.
pub const DELIVERIES: &str = "DELIVERIES";
/// The binding of the dead-letter queue.
pub const DEAD_LETTERS: &str = "DEAD_LETTERS";
/// The binding of the KV namespace.
pub const KV: &str = "KV";

/// What is bound to the Worker besides variables and secrets.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Bindings {
    /// The queues that it may send to, by the names of their bindings.
    #[serde(default)]
    pub queues: Vec<String>,
    /// Whether there is a KV namespace under [`KV`].
    #[serde(default)]
    pub kv: bool,
    /// Whether there is a rate limit for refusals.
    #[serde(default)]
    pub rate_limit: bool,
}

impl Bindings {
    /// Whether a queue of that name is bound.
    pub fn has_queue(&self, name: &str) -> bool {
        self.queues.iter().any(|queue| queue == name)
    }
}

/// What is wrong with a setting. Never carries a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Such as `SOURCE_OSIGU.keys[0].secret`.
    pub path: String,
    /// What is wrong, and what it should be.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

/// One configured inbound endpoint.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in the URL.
    pub id: String,
    /// The kind of sender.
    pub provider: Provider,
    /// How its requests are authenticated.
    pub scheme: Authentication,
    /// Where times without a zone were written.
    pub zone: Zone,
    /// What its events have to be.
    pub expected: Expectations,
    /// What becomes of patient data.
    pub phi: Policy,
    /// The largest body.
    pub max_body: usize,
    /// How long a delivered event is remembered.
    pub window: Duration,
    /// What remembers it.
    pub dedupe: Dedupe,
    /// Whether a code that was taken back is kept from the destination.
    pub withhold_superseded: bool,
    /// Whether the sender is known to send again what wasn't taken.
    pub retries: bool,
    /// Whether the operator takes it that what the origin doesn't take may be lost.
    pub accepts_loss: bool,
    /// Who may say which callbacks are to come, and what then; `None`: nobody.
    pub expecting: Option<Expecting>,
    /// First match.
    pub routes: Vec<Route>,
    /// Where no route matches.
    pub destination: usize,
}

impl Source {
    /// The kind of sender, as events and the log name it.
    pub fn name(&self) -> &'static str {
        let sender = self.expected.sender.as_ref();
        sender.map_or(self.provider.name(), |sender| sender.name)
    }

    /// Whether a callback that nobody expects is refused.
    pub fn requires_expectation(&self) -> bool {
        self.expecting.as_ref().is_some_and(|e| e.required)
    }
}

/// What remembers that an event was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedupe {
    /// The entity's object decides.
    Exact {
        /// Whether KV is asked first.
        edge_cache: bool,
    },
    /// KV remembers, and nobody decides.
    Kv,
}

/// Where events go.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its name in the configuration and in logs.
    pub id: String,
    /// What it is.
    pub to: Target,
}

/// What a destination is.
#[derive(Clone, Debug)]
pub enum Target {
    /// An HTTP server.
    Origin(Origin),
    /// A queue that the customer consumes: its binding.
    Queue(String),
}

/// An HTTP origin.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Where it is.
    pub url: String,
    /// What it gets.
    pub format: Format,
    /// What signs it.
    pub keys: SigningKeys,
    /// Sent with each request. The values are secrets.
    pub headers: Headers,
    /// With these statuses it says that it won't take an event, however often it is sent.
    pub permanent: Vec<u16>,
    /// How events get there.
    pub road: Road,
}

/// How events get to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// While the sender waits; what fails stays with the sender.
    Direct,
    /// While the sender waits; what fails is enqueued.
    DirectThenQueue,
    /// By our queue.
    Queue,
}

/// Where alerts go.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Where it is.
    pub url: String,
    /// What signs them.
    pub keys: SigningKeys,
}

/// Static headers of a destination. The values never show in `Debug`.
#[derive(Clone, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// The whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `None`: there is such a source, and its settings are faulty.
    pub sources: ByName<Option<Source>>,
    /// Of sources whose settings are faulty: which provider they name, since its senders are to be answered in their own form all the same.
    pub faulty: ByName<Provider>,
    /// By place.
    pub destinations: Vec<Option<Destination>>,
    /// How many objects share the entities.
    pub shards: u32,
    /// How many there were before.
    pub previous_shards: Option<u32>,
    /// The longest window of any source, faulty ones included.
    pub longest_window: Duration,
    /// What is bound.
    pub bindings: Bindings,
    /// What seals parcels, large events and dead letters.
    pub seal_keys: Option<SealKeys>,
    /// Who may use the operator's API; none: nobody.
    pub operator_keys: Option<Keyring>,
    /// Where alerts go.
    pub alert: Option<Alert>,
    /// The name of our own queue, as the platform says it to its consumer.
    pub delivery_queue: String,
    /// The name of the dead-letter queue.
    pub dead_letter_queue: String,
    /// How long a dead letter is kept.
    pub letters_kept: Duration,
    /// Beyond the rate limit one refusal in so many is logged.
    pub sample: u16,
    /// All that is wrong.
    pub faults: Vec<Fault>,
}

/// The destination of a source that stands by itself.
#[cfg(feature = "js")]
pub const PACKAGE: &str = "package";

impl Config {
    /// Reads the variables and secrets of the Worker.
    pub fn parse(
        vars: impl Into<Settings>,
        secrets: &BTreeMap<String, String>,
        bindings: Bindings,
    ) -> Self {
        Self::read(&vars.into(), &secrets.into(), bindings)
    }

    /// The same of what is at hand already.
    pub fn read(vars: &Settings, secrets: &ByName<String>, bindings: Bindings) -> Self {
        let mut faults = Vec::new();
        if vars.len() + secrets.len() > MAX_VARS {
            faults.push(Fault {
                path: "vars".to_owned(),
                problem: format!(
                    "more than {MAX_VARS} variables and secrets: the platform takes no more"
                ),
            });
        }
        for (name, value) in vars.iter() {
            let bytes = json::to_string(value).len();
            if bytes > MAX_VAR_BYTES {
                faults.push(Fault {
                    path: name.clone(),
                    problem: format!(
                        "{bytes} bytes: the platform takes no more than {MAX_VAR_BYTES}"
                    ),
                });
            }
        }
        let mut parser = Parser {
            secrets,
            bindings: &bindings,
            originals: Vec::new(),
            redacting: false,
            sender_headers: Vec::new(),
            held: held(vars),
            faults,
            development: false,
            longest_window: Duration::from_secs(DEFAULT_WINDOW_DAYS * DAY),
        };
        let mut config = Self {
            shards: DEFAULT_SHARDS,
            ..Self::default()
        };
        let empty = Setting::Object(Settings::default());
        let gateway = vars.get("RXGATE").unwrap_or(&empty);
        parser.gateway(gateway, &mut config);
        parser.required_bindings();
        // A number of shards that isn't the one that was meant would forget what has been seen; without a dead-letter queue something would be lost.
        let shuts_all = |f: &Fault| {
            f.path.starts_with("RXGATE") || [DEAD_LETTERS, KV].contains(&f.path.as_str())
        };
        let gateway_is_sound = !parser.faults.iter().any(shuts_all);

        let named = |prefix: &'static str| {
            vars.iter().filter_map(move |(name, value)| {
                let id = name.strip_prefix(prefix)?;
                Some((name, id.to_ascii_lowercase().replace('_', "-"), value))
            })
        };
        let ids = |prefix| -> Vec<String> { named(prefix).map(|(_, id, _)| id).collect() };
        let (source_ids, destination_ids) = (ids("SOURCE_"), ids("DESTINATION_"));
        config.destinations = named("DESTINATION_")
            .map(|(name, id, value)| parser.destination(name, id, value, &destination_ids))
            .collect();
        for name in vars.keys() {
            let known = ["SOURCE_", "DESTINATION_"];
            if name != "RXGATE" && !known.iter().any(|prefix| name.starts_with(prefix)) {
                parser.fault(
                    name,
                    "is no setting: there are RXGATE, SOURCE_<NAME> and DESTINATION_<NAME>",
                );
            }
        }
        parser.originals = named("DESTINATION_")
            .filter(|(_, _, value)| {
                value.get("format").and_then(Setting::as_str) == Some("original")
            })
            .map(|(_, id, value)| {
                let headers = value.get("headers").and_then(Setting::as_object);
                let names = headers.into_iter().flat_map(|headers| headers.keys());
                (id, names.map(|name| name.to_ascii_lowercase()).collect())
            })
            .collect();
        for (name, id, value) in named("SOURCE_") {
            let source = parser.source(name, id.clone(), value, &source_ids, &destination_ids);
            let source = source.filter(|source| {
                let mut used = source.routes.iter().map(|route| route.destination);
                let sound = |place| config.destinations.get(place).is_some_and(Option::is_some);
                gateway_is_sound && sound(source.destination) && used.all(sound)
            });
            let source = source.filter(|source| {
                let before = parser.faults.len();
                parser.check_losses(name, source, &config.destinations);
                parser.faults.len() == before
            });
            let provider = value.get("provider").and_then(Setting::as_str);
            if let Some(provider) = provider.and_then(Provider::by_name)
                && source.is_none()
            {
                config.faulty.insert(id.clone(), provider);
            }
            config.sources.insert(id, source);
        }
        if config.sources.is_empty() {
            parser.fault("vars", "there is no source: add a table SOURCE_<NAME>");
        }
        config.longest_window = parser.longest_window;
        config.faults = parser.faults;
        config.bindings = bindings;
        config
    }

    /// Reads one source's table by itself: its secrets, and no destination but [`PACKAGE`]. The paths of faults begin at the table.
    #[cfg(feature = "js")]
    pub fn source(
        id: &str,
        table: impl Into<Setting>,
        secrets: &ByName<String>,
    ) -> Result<Source, Vec<Fault>> {
        let bindings = Bindings {
            queues: [DELIVERIES, DEAD_LETTERS].map(str::to_owned).to_vec(),
            kv: true,
            rate_limit: false,
        };
        let mut parser = Parser {
            secrets,
            bindings: &bindings,
            originals: Vec::new(),
            redacting: false,
            sender_headers: Vec::new(),
            held: Vec::new(),
            faults: Vec::new(),
            development: false,
            longest_window: Duration::ZERO,
        };
        let (sources, destinations) = ([id.to_owned()], [PACKAGE.to_owned()]);
        let name = "SOURCE";
        let source = parser.source(name, id.to_owned(), &table.into(), &sources, &destinations);
        let mut faults = parser.faults;
        for fault in &mut faults {
            let path = fault.path.strip_prefix(name).unwrap_or(&fault.path);
            fault.path = path.trim_start_matches('.').to_owned();
        }
        source.filter(|_| faults.is_empty()).ok_or(faults)
    }

    /// Adds what is wrong at `now`: a source all of whose keys are past their `not_after`.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        for source in self.sources.values().flatten() {
            if !source.scheme.any_usable(now) {
                let name = source.id.to_ascii_uppercase().replace('-', "_");
                self.faults.push(Fault {
                    path: format!("SOURCE_{name}.keys"),
                    problem: "are all past their not_after".to_owned(),
                });
            }
        }
        self
    }

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Whose keys are whose, as far as somebody is let in by them: the paths of the lists, and the secrets that they name.
fn held(vars: &Settings) -> Vec<(String, Vec<String>)> {
    let lists = [
        "operator_keys",
        "expectation_keys",
        "keys",
        "path_tokens",
        "basic",
        "header.keys",
    ];
    let mut held = Vec::new();
    for (name, table) in vars.iter() {
        if name != "RXGATE" && !name.starts_with("SOURCE_") {
            continue;
        }
        for list in lists {
            let mut steps = list.split('.');
            let keys = steps.try_fold(table, |table, step| table.get(step));
            let Some(keys) = keys.and_then(Setting::as_array) else {
                continue;
            };
            let secret = |key: &Setting| Some(key.get("secret")?.as_str()?.to_owned());
            held.push((
                format!("{name}.{list}"),
                keys.iter().filter_map(secret).collect(),
            ));
        }
    }
    held
}

struct Parser<'a> {
    secrets: &'a ByName<String>,
    bindings: &'a Bindings,
    /// The destinations that get the sender's own bytes, faulty ones included, and the names of their own headers.
    originals: Vec<(String, Vec<String>)>,
    /// Whether the source that is being read holds anything back.
    redacting: bool,
    /// The headers of its sender.
    sender_headers: Vec<String>,
    /// Lists of keys, and the names of the secrets in them.
    held: Vec<(String, Vec<String>)>,
    faults: Vec<Fault>,
    development: bool,
    longest_window: Duration,
}

impl Parser<'_> {
    fn fault(&mut self, path: &str, problem: impl Into<String>) {
        self.faults.push(Fault {
            path: path.to_owned(),
            problem: problem.into(),
        });
    }

    fn gateway(&mut self, value: &Setting, config: &mut Config) {
        let known = [
            "shards",
            "previous_shards",
            "development",
            "seal_keys",
            "operator_keys",
            "delivery_queue",
            "dead_letter_queue",
            "dead_letter_days",
            "alert",
            "refusal_sample",
        ];
        let Some(table) = self.table("RXGATE", value, &known) else {
            return;
        };
        self.development = self.bool(&table, "development").unwrap_or(false);
        let shards = self.integer(&table, "shards", 1..=MAX_SHARDS);
        config.shards = shards
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(DEFAULT_SHARDS);
        let previous = self.integer(&table, "previous_shards", 1..=MAX_SHARDS);
        config.previous_shards = previous.and_then(|n| u32::try_from(n).ok());
        if config.previous_shards == Some(config.shards) {
            self.fault(
                "RXGATE.previous_shards",
                "is the same as shards: leave it out",
            );
        }
        config.seal_keys = self.seal_keys(&table);
        if table.get("operator_keys").is_some() {
            config.operator_keys = self.keys(&table, "operator_keys", MIN_OPERATOR_KEY_BYTES);
        }
        let name = |text: Option<&str>, default: &str| text.unwrap_or(default).to_owned();
        let delivery_queue = self.text(&table, "delivery_queue", false);
        config.delivery_queue = name(delivery_queue, "rxgate-deliveries");
        let dead_letter_queue = self.text(&table, "dead_letter_queue", false);
        config.dead_letter_queue = name(dead_letter_queue, "rxgate-dead-letters");
        if config.delivery_queue == config.dead_letter_queue {
            self.fault("RXGATE.dead_letter_queue", "is the delivery queue as well");
        }
        let days = self.integer(&table, "dead_letter_days", 1..=365);
        config.letters_kept = Duration::from_secs(DAY * days.unwrap_or(DEFAULT_LETTER_DAYS));
        let sample = self.integer(&table, "refusal_sample", 1..=10_000);
        config.sample = u16::try_from(sample.unwrap_or(DEFAULT_SAMPLE)).unwrap_or(u16::MAX);
        config.alert = self.alert(&table);
    }

    fn required_bindings(&mut self) {
        if !self.bindings.has_queue(DEAD_LETTERS) {
            self.fault(
                DEAD_LETTERS,
                "is missing: bind the dead-letter queue under this name",
            );
        }
        if !self.bindings.kv {
            self.fault(KV, "is missing: bind a KV namespace under this name");
        }
    }

    fn seal_keys(&mut self, table: &Table<'_>) -> Option<SealKeys> {
        let mut keys = Vec::new();
        let mut sound = true;
        for (path, value) in self.array(table, "seal_keys", true) {
            let table = self.table(&path, value, &["id", "secret"]);
            let parsed = table.and_then(|table| {
                let id = self.key_id(&table);
                let (name, text) = self.secret(&table, "secret")?;
                match SealKey::parse(id?, text) {
                    Ok(key) => Some((table.at("id"), key)),
                    Err(fault) => {
                        let problem = match fault {
                            SealKeyFault::NotBase64 => format!("the secret {name} isn't base64"),
                            SealKeyFault::Length { bytes } => {
                                format!("the secret {name} has {bytes} bytes: 32 are needed")
                            }
                        };
                        self.fault(&table.at("secret"), problem);
                        None
                    }
                }
            });
            match parsed {
                Some((path, key)) => {
                    if keys.iter().any(|other: &SealKey| other.id() == key.id()) {
                        self.fault(&path, "is the id of another key");
                    }
                    keys.push(key);
                }
                None => sound = false,
            }
        }
        self.check_count(table, "seal_keys", MAX_SEAL_KEYS);
        SealKeys::new(keys).filter(|_| sound)
    }

    fn alert(&mut self, table: &Table<'_>) -> Option<Alert> {
        let path = table.at("alert");
        let table = self.table(&path, table.get("alert")?, &["url", "keys"])?;
        let url = self.url(&table);
        let keys = self.signing_keys(&table);
        Some(Alert {
            url: url?,
            keys: keys?,
        })
    }

    /// Where nobody sends again what wasn't taken, an origin needs a queue behind it.
    fn check_losses(&mut self, name: &str, source: &Source, destinations: &[Option<Destination>]) {
        if source.retries || source.accepts_loss {
            return;
        }
        let loses = |place: usize| {
            let to = destinations
                .get(place)
                .and_then(Option::as_ref)
                .map(|d| &d.to);
            matches!(
                to,
                Some(Target::Origin(Origin {
                    road: Road::Direct,
                    ..
                }))
            )
        };
        let routes = source.routes.iter().enumerate();
        let mut paths: Vec<String> = routes
            .filter(|(_, route)| loses(route.destination))
            .map(|(place, _)| format!("{name}.routes[{place}].destination"))
            .collect();
        if loses(source.destination) {
            paths.push(format!("{name}.destination"));
        }
        for path in paths {
            self.fault(
                &path,
                "has no queue behind it, and the sender isn't known to retry: what the origin doesn't take would be lost. Bind DELIVERIES and leave on_origin_failure at enqueue, or say accept_loss = true",
            );
        }
    }

    fn source(
        &mut self,
        name: &str,
        id: String,
        value: &Setting,
        sources: &[String],
        destinations: &[String],
    ) -> Option<Source> {
        let before = self.faults.len();
        self.check_id(name, &id, sources);
        let table = self.table(
            name,
            value,
            &[
                "provider",
                "environment",
                "keys",
                "tolerance_seconds",
                "stale",
                "provider_slug",
                "accept_api_versions",
                "max_body_bytes",
                "dedupe_window_days",
                "dedupe",
                "edge_cache",
                "retry_policy",
                "accept_loss",
                "withhold_superseded",
                "phi",
                "phi_key",
                "destination",
                "routes",
                "preset",
                "scheme",
                "event",
                "types",
                "accept_unsigned",
                "path_tokens",
                "header",
                "basic",
                "addresses",
                "zone",
                "authorization_scheme",
                "expectation_keys",
                "callback_hours",
                "require_expectation",
            ],
        )?;
        let providers = Provider::ALL.map(Provider::name);
        let provider = self
            .choice(&table, "provider", &providers, true)
            .and_then(Provider::by_name);
        let is = |kind| provider == Some(kind);
        let is_osigu = provider.is_none() || is(Provider::Osigu);
        let environments = ["sandbox", "production"];
        let environment = self.choice(&table, "environment", &environments, is_osigu);
        if !is_osigu {
            self.not_for(&table, &["provider_slug", "accept_api_versions"], "osigu");
        }
        if !is(Provider::Configured) {
            self.not_for(&table, &ONLY_CONFIGURED, "configured");
        }
        if !is(Provider::Evitalrx) {
            self.not_for(&table, &ONLY_EVITALRX, "evitalrx");
        }
        if !is(Provider::PhilCallback) {
            self.not_for(&table, &ONLY_PHIL, "phil-callback");
        }
        if !is(Provider::Configured) && !is(Provider::Evitalrx) {
            let only = "configured\" or \"evitalrx";
            self.not_for(&table, &["accept_unsigned"], only);
        }
        let zone = self.zone(&table);
        let mut unsigned = None;
        let mut configured = None;
        let mut keys = None;
        match provider {
            Some(Provider::Configured) => configured = Some(self.configured(&table)),
            Some(Provider::Evitalrx) => {
                self.not_for(&table, &["keys"], "osigu");
                unsigned = Some(self.door(&table));
            }
            Some(Provider::PhilCallback) => unsigned = Some(self.authorization(&table)),
            Some(Provider::Osigu) | None => keys = self.keys(&table, "keys", MIN_KEY_BYTES),
        }
        let form = configured.as_ref().and_then(|c| c.form.as_ref());
        let timeless = unsigned.is_some() || form.is_some_and(|form| !form.has_time());
        if timeless {
            for name in ["tolerance_seconds", "stale"] {
                if table.get(name).is_some() {
                    self.fault(&table.at(name), "needs a time that the signature covers");
                }
            }
        }
        self.sender_headers = form
            .iter()
            .flat_map(|form| form.headers_to_pass_on())
            .map(str::to_ascii_lowercase)
            .collect();
        let sender = configured.as_ref().and_then(|c| c.sender.as_ref());
        let configured_types: Vec<String> = sender
            .iter()
            .flat_map(|sender| sender.types.values().cloned())
            .collect();
        let configured_retry = sender.map(|sender| sender.retry);
        let tolerance = Duration::from_secs(
            self.integer(&table, "tolerance_seconds", 1..=DAY)
                .unwrap_or(DEFAULT_TOLERANCE),
        );
        let stale = match self.choice(&table, "stale", &["refuse", "accept"], false) {
            Some("accept") => Some(()),
            _ => None,
        };
        let max_body = self
            .integer(&table, "max_body_bytes", 1..=MAX_BODY_BYTES as u64)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(DEFAULT_BODY_BYTES);
        let window = Duration::from_secs(
            DAY * self
                .integer(&table, "dedupe_window_days", 1..=90)
                .unwrap_or(DEFAULT_WINDOW_DAYS),
        );
        self.longest_window = self.longest_window.max(window);
        let mut api_versions = self.texts(&table, "accept_api_versions");
        let provider_slug = self.text(&table, "provider_slug", false).map(str::to_owned);
        let dedupe = self.dedupe(&table);
        if is(Provider::Evitalrx) && dedupe == Dedupe::Kv {
            let problem = "has to be exact: the same words come again in another round, and only the order's object knows which round it is";
            self.fault(&table.at("dedupe"), problem);
        }
        let expecting = self.expecting(&table, provider, window, dedupe);
        let withhold_superseded = self.bool(&table, "withhold_superseded").unwrap_or(true);
        let accepts_loss = self.bool(&table, "accept_loss").unwrap_or(false);
        let policy = self.choice(&table, "retry_policy", &["documented", "unknown"], false);
        let phi = self.phi(&table);
        let destination = self.destination_named(&table, "destination", destinations, true);
        let routes = self.routes(&table, provider, &configured_types, destinations);

        let provider = provider?;
        let horizon = match configured_retry.unwrap_or_else(|| provider.retry_policy()) {
            RetryPolicy::Documented { horizon } => Some(horizon),
            RetryPolicy::Unknown => None,
        };
        if policy == Some("documented") && horizon.is_none() {
            self.fault(
                &table.at("retry_policy"),
                "is documented, and this sender documents no retries",
            );
        }
        let retries = horizon.is_some() && policy != Some("unknown");
        let horizon = horizon.unwrap_or(UNKNOWN_HORIZON);
        let stale = stale.map_or(Stale::Refuse, |()| Stale::Accept {
            horizon: horizon + tolerance,
        });
        // A request stays good for the tolerance on either side, or as long as the sender retries it: it has to be remembered for longer.
        let least = match stale {
            _ if timeless => horizon,
            Stale::Refuse => horizon.max(tolerance * 2),
            Stale::Accept { horizon } => horizon + tolerance,
        };
        if window < least {
            let hours = least.as_secs().div_ceil(3600);
            let path = table.at("dedupe_window_days");
            self.fault(
                &path,
                format!(
                    "is shorter than the {hours} hours for which the sender's requests stay good"
                ),
            );
        }
        api_versions.extend(provider.api_versions().iter().map(|&v| v.to_owned()));
        let (scheme, sender) = match configured {
            _ if unsigned.is_some() => (unsigned.flatten(), None),
            Some(mut configured) => {
                let sender = configured.sender.take();
                (self.scheme(configured, tolerance, stale), sender)
            }
            None => {
                let scheme = keys.map(|keys| TimestampedHmac {
                    keys,
                    tolerance,
                    stale,
                });
                (scheme.map(Authentication::Timestamped), None)
            }
        };
        let expected = Expectations {
            environment: environment.unwrap_or_default().to_owned(),
            provider_slug,
            api_versions,
            sender,
        };
        let source = Source {
            id,
            provider,
            scheme: scheme?,
            zone,
            expected,
            phi: phi?,
            max_body,
            window,
            dedupe,
            withhold_superseded,
            retries,
            accepts_loss,
            expecting,
            routes,
            destination: destination?,
        };
        (self.faults.len() == before).then_some(source)
    }

    fn dedupe(&mut self, table: &Table<'_>) -> Dedupe {
        let edge_cache = self.bool(table, "edge_cache");
        match self.choice(table, "dedupe", &["exact", "kv"], false) {
            Some("kv") => {
                if edge_cache == Some(true) {
                    self.fault(
                        &table.at("edge_cache"),
                        "is for dedupe = \"exact\": with kv nothing else is asked",
                    );
                }
                Dedupe::Kv
            }
            _ => Dedupe::Exact {
                edge_cache: edge_cache.unwrap_or(false),
            },
        }
    }

    fn keys(&mut self, table: &Table<'_>, list: &str, least: usize) -> Option<Keyring> {
        let (named, mut sound) = self.named_keys(table, list);
        let mut keys: Vec<Key> = Vec::with_capacity(named.len());
        for NamedKey {
            path,
            secret,
            id,
            not_after,
            value,
        } in named
        {
            let bytes = value.as_bytes();
            let key = match bytes.len() {
                short if (1..least).contains(&short) => Err(KeyFault::Short { bytes: short }),
                _ => Key::new(id, bytes, not_after),
            };
            match key {
                Ok(key) => keys.push(key),
                Err(fault) => {
                    sound = false;
                    let problem = match fault {
                        KeyFault::Empty => format!("the secret {secret} is empty"),
                        KeyFault::Short { bytes } => format!(
                            "the secret {secret} has {bytes} bytes: at least {least} are needed"
                        ),
                        KeyFault::Refused => format!("the secret {secret} can't key the hash"),
                    };
                    self.fault(&path, problem);
                }
            }
        }
        Keyring::new(keys).filter(|_| sound)
    }

    fn not_after(&mut self, table: &Table<'_>) -> Option<Timestamp> {
        let at = Timestamp::parse_rfc3339(self.text(table, "not_after", false)?);
        if at.is_none() {
            self.fault(&table.at("not_after"), "isn't an RFC 3339 date-time");
        }
        at
    }

    /// What becomes of patient data. `None` if it is faulty.
    fn phi(&mut self, table: &Table<'_>) -> Option<Policy> {
        let actions = self.phi_actions(table);
        self.redacting = actions.is_some_and(|actions| actions != Actions::default());
        let path = table.at("phi_key");
        let Some(value) = table.get("phi_key") else {
            let policy = Policy::new(actions?, None);
            if policy.is_err() {
                self.fault(&path, "is missing: pseudonyms are made with it");
            }
            return policy.ok();
        };
        let key = self.table(&path, value, &["secret"])?;
        let secret_path = key.at("secret");
        let (name, secret) = self.secret(&key, "secret")?;
        let secret = secret.to_owned();
        if self.signs(table, &secret) {
            self.fault(
                &secret_path,
                format!("the secret {name} is one of the source's keys: pseudonyms need their own"),
            );
            return None;
        }
        let fault = match Policy::new(actions?, Some(secret.as_bytes())) {
            Ok(policy) => return Some(policy),
            Err(fault) => fault,
        };
        match fault {
            PolicyFault::KeyUnused => {
                self.fault(&path, "isn't used: phi pseudonymises nothing");
            }
            PolicyFault::KeyShort { bytes } => self.fault(
                &secret_path,
                format!(
                    "the secret {name} has {bytes} bytes: at least {MIN_PHI_KEY_BYTES} are needed"
                ),
            ),
            PolicyFault::KeyMissing => self.fault(&path, "is missing"),
        }
        None
    }

    /// Whether a key of the source's is this secret: the sender has that one too.
    fn signs(&self, table: &Table<'_>, secret: &str) -> bool {
        let keys = table.get("keys").and_then(Setting::as_array);
        keys.into_iter().flatten().any(|key| {
            let name = key.get("secret").and_then(Setting::as_str);
            let value = name.and_then(|name| self.secrets.get(name));
            value.is_some_and(|value| value == secret)
        })
    }

    fn phi_actions(&mut self, table: &Table<'_>) -> Option<Actions> {
        let names = Action::ALL.map(Action::name);
        let named = |name: &str| Action::ALL.into_iter().find(|a| a.name() == name);
        let path = table.at("phi");
        match table.get("phi") {
            None => Some(Actions::default()),
            Some(value) if value.as_object().is_some() => {
                let before = self.faults.len();
                let classes = Class::SET.map(Class::name);
                let table = self.table(&path, value, &classes)?;
                let mut actions = Actions::default();
                for class in Class::SET {
                    let action = self.choice(&table, class.name(), &names, false);
                    actions = actions.with(class, action.and_then(named).unwrap_or_default());
                }
                (self.faults.len() == before).then_some(actions)
            }
            Some(value) => {
                let action = value.as_str().and_then(named);
                if action.is_none() {
                    let names = names.join(", ");
                    self.fault(
                        &path,
                        format!("isn't one of {names}, nor a table of classes to those"),
                    );
                }
                action.map(Actions::all)
            }
        }
    }

    /// A key's name goes into logs and events, so it can't be just anything.
    fn key_id(&mut self, table: &Table<'_>) -> Option<KeyId> {
        let id = self.text(table, "id", true)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if id.len() > 64 || !id.bytes().all(allowed) {
            self.fault(
                &table.at("id"),
                "isn't 1 to 64 letters, digits, -, _ and dots",
            );
            return None;
        }
        Some(KeyId::new(id))
    }

    fn routes(
        &mut self,
        table: &Table<'_>,
        provider: Option<Provider>,
        configured: &[String],
        destinations: &[String],
    ) -> Vec<Route> {
        let mut types_there_are: Vec<&str> = vec![UNKNOWN_TYPE];
        if let Some(provider) = provider {
            types_there_are.extend(provider.event_types().map(|(_, canonical)| canonical));
        }
        types_there_are.extend(configured.iter().map(String::as_str));
        let mut routes = Vec::new();
        for (path, value) in self.array(table, "routes", false) {
            let known = ["types", "pharmacies", "branches", "destination"];
            let Some(table) = self.table(&path, value, &known) else {
                continue;
            };
            let mut types = Vec::new();
            for (place, text) in self.texts(&table, "types").iter().enumerate() {
                let path = format!("{}[{place}]", table.at("types"));
                match Pattern::parse(text) {
                    Some(pattern) if types_there_are.iter().any(|t| pattern.matches(t)) => {
                        types.push(pattern);
                    }
                    Some(_) => self.fault(
                        &path,
                        "matches no canonical type, such as rx.dispense.completed",
                    ),
                    None => self.fault(
                        &path,
                        "isn't a pattern of canonical types: lower-case letters, _, . and *",
                    ),
                }
            }
            let conditions = ["types", "pharmacies", "branches"];
            for name in conditions {
                if matches!(table.get(name), Some(Setting::Array(list)) if list.is_empty()) {
                    self.fault(&table.at(name), "is empty: nothing would match");
                }
            }
            if conditions.iter().all(|name| table.get(name).is_none()) {
                self.fault(
                    &path,
                    "has no condition: what no route takes goes to the source's destination",
                );
            }
            let route = Route {
                types,
                pharmacies: self.texts(&table, "pharmacies"),
                branches: self.texts(&table, "branches"),
                destination: self
                    .destination_named(&table, "destination", destinations, true)
                    .unwrap_or(usize::MAX),
            };
            routes.push(route);
        }
        routes
    }

    fn destination(
        &mut self,
        name: &str,
        id: String,
        value: &Setting,
        destinations: &[String],
    ) -> Option<Destination> {
        let before = self.faults.len();
        self.check_id(name, &id, destinations);
        let known = [
            "url",
            "queue",
            "format",
            "keys",
            "headers",
            "permanent_statuses",
            "delivery",
            "on_origin_failure",
        ];
        let table = self.table(name, value, &known)?;
        if table.get("queue").is_some() {
            let queue = self.queue(&table, &known);
            let to = Target::Queue(queue?);
            return (self.faults.len() == before).then_some(Destination { id, to });
        }
        let url = self.url(&table);
        let road = self.road(&table);
        let format = match self.choice(&table, "format", &["canonical", "original"], false) {
            Some("original") => Format::Original,
            _ => Format::Canonical,
        };
        let keys = self.signing_keys(&table);
        let headers = self.headers(&table);
        let mut permanent = Vec::new();
        for (path, value) in self.array(&table, "permanent_statuses", false) {
            match value.as_u64().and_then(|n| u16::try_from(n).ok()) {
                Some(status @ 300..=599) => permanent.push(status),
                _ => self.fault(&path, "isn't a whole number from 300 to 599"),
            }
        }
        if table.get("permanent_statuses").is_none() {
            permanent.extend(PERMANENT_STATUSES);
        }
        let to = Target::Origin(Origin {
            url: url?,
            format,
            keys: keys?,
            headers,
            permanent,
            road,
        });
        (self.faults.len() == before).then_some(Destination { id, to })
    }

    fn url(&mut self, table: &Table<'_>) -> Option<String> {
        let url = self.text(table, "url", true).map(str::to_owned);
        if let Some(Err(fault)) = url
            .as_deref()
            .map(|url| check_target(url, self.development))
        {
            let problem = match fault {
                TargetFault::NotAUrl => {
                    "isn't an absolute URL (what has no place in one is percent-encoded)"
                }
                TargetFault::NotHttps => {
                    "isn't https (http is for this machine, with RXGATE.development = true)"
                }
                TargetFault::Credentials => {
                    "carries a user name or password: use headers with a secret"
                }
                TargetFault::Fragment => "carries a fragment, which is never sent",
            };
            self.fault(&table.at("url"), problem);
        }
        url
    }

    /// A queue that the customer consumes.
    fn queue(&mut self, table: &Table<'_>, known: &[&str]) -> Option<String> {
        for other in known.iter().filter(|name| **name != "queue") {
            if table.get(other).is_some() {
                self.fault(
                    &table.at(other),
                    "is for an origin, and this destination is a queue",
                );
            }
        }
        let queue = self.text(table, "queue", true)?;
        let path = table.at("queue");
        if [DELIVERIES, DEAD_LETTERS].contains(&queue) {
            self.fault(&path, "is a queue that rxgate consumes itself");
        } else if !self.bindings.has_queue(queue) {
            self.fault(&path, "isn't the binding of a queue that there is");
        }
        Some(queue.to_owned())
    }

    fn road(&mut self, table: &Table<'_>) -> Road {
        let bound = self.bindings.has_queue(DELIVERIES);
        let delivery = self.choice(table, "delivery", &["direct", "queue"], false);
        let choices = ["enqueue", "sender_retries"];
        let on_failure = self.choice(table, "on_origin_failure", &choices, false);
        let mut needs_queue = |name: &str| {
            if !bound {
                self.faults.push(Fault {
                    path: table.at(name),
                    problem: "needs our own queue: bind one under DELIVERIES".to_owned(),
                });
            }
        };
        match (delivery, on_failure) {
            (Some("queue"), None) => {
                needs_queue("delivery");
                Road::Queue
            }
            (Some("queue"), Some(_)) => {
                self.fault(
                    &table.at("on_origin_failure"),
                    "is for delivery = \"direct\": from the queue a delivery is tried again anyway",
                );
                Road::Queue
            }
            (_, Some("enqueue")) => {
                needs_queue("on_origin_failure");
                Road::DirectThenQueue
            }
            (_, None) if bound => Road::DirectThenQueue,
            _ => Road::Direct,
        }
    }

    fn signing_keys(&mut self, table: &Table<'_>) -> Option<SigningKeys> {
        let mut keys = Vec::new();
        let mut sound = true;
        for (path, value) in self.array(table, "keys", true) {
            let table = self.table(&path, value, &["id", "secret"]);
            let parsed = table.and_then(|table| {
                let id = self.key_id(&table);
                let (name, text) = self.secret(&table, "secret")?;
                match SigningKey::parse(id?, text) {
                    Ok(key) => Some(key),
                    Err(fault) => {
                        let problem = match fault {
                            SigningKeyFault::NoPrefix => {
                                format!("the secret {name} doesn't start with whsec_")
                            }
                            SigningKeyFault::NotBase64 => {
                                format!("the secret {name} isn't base64 after whsec_")
                            }
                            SigningKeyFault::Length { bytes } => {
                                format!("the secret {name} has {bytes} bytes: 24 to 64 are needed")
                            }
                        };
                        self.fault(&table.at("secret"), problem);
                        None
                    }
                }
            });
            match parsed {
                Some(key) => keys.push(key),
                None => sound = false,
            }
        }
        self.check_count(table, "keys", MAX_SIGNING_KEYS);
        SigningKeys::new(keys).filter(|_| sound)
    }

    fn headers(&mut self, table: &Table<'_>) -> Headers {
        let Some(value) = table.get("headers") else {
            return Headers::default();
        };
        let path = table.at("headers");
        let Setting::Object(map) = value else {
            self.fault(&path, "isn't a table of header names to secret names");
            return Headers::default();
        };
        let mut headers = Vec::new();
        for (name, secret) in map.iter() {
            let path = format!("{path}.{name}");
            let Some(parsed) = header_name(name) else {
                self.fault(&path, "isn't a header name");
                continue;
            };
            let ours = [
                "host",
                "content-type",
                "content-length",
                "transfer-encoding",
                "connection",
                "user-agent",
                "content-encoding",
                "expect",
                "te",
                "trailer",
                "upgrade",
            ];
            // The others of the platform's own, such as cf-access-client-secret, are the operator's to send.
            let of_platform = [
                "cf-connecting-ip",
                "cf-ipcountry",
                "cf-ray",
                "cf-visitor",
                "cf-worker",
                "cdn-loop",
            ];
            let of_sender = |p: Provider| p.signature_header() == Some(parsed.as_str());
            if ours.contains(&parsed.as_str())
                || of_platform.contains(&parsed.as_str())
                || parsed.as_str().starts_with("webhook-")
                || Provider::ALL.into_iter().any(of_sender)
            {
                self.fault(&path, "is a header that rxgate or the platform sets itself");
                continue;
            }
            if map.keys().filter(|k| k.eq_ignore_ascii_case(name)).count() > 1 {
                self.fault(&path, "stands here twice");
                continue;
            }
            let Some(secret) = secret.as_str() else {
                self.fault(&path, "isn't the name of a secret");
                continue;
            };
            match self.secrets.get(secret) {
                None => self.fault(&path, NO_SECRET),
                Some(value) if !is_header_value(value) => {
                    self.fault(
                        &path,
                        format!("the secret {secret} can't be a header's value"),
                    );
                }
                Some(value) => headers.push((parsed, value.clone())),
            }
        }
        Headers(headers)
    }

    fn check_id(&mut self, name: &str, id: &str, ids: &[String]) {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
            self.fault(name, "its name has to be 1 to 64 letters, digits and _");
        }
        // SOURCE_A_B and SOURCE_a_b are both `a-b`: which of them is meant can't be told.
        if ids.iter().filter(|other| *other == id).count() > 1 {
            self.fault(name, format!("another is called {id} as well"));
        }
    }

    fn table<'v>(&mut self, path: &str, value: &'v Setting, known: &[&str]) -> Option<Table<'v>> {
        let Setting::Object(map) = value else {
            self.fault(path, "isn't a table");
            return None;
        };
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            self.fault(
                &format!("{path}.{name}"),
                format!("is no setting: there are {}", known.join(", ")),
            );
        }
        Some(Table {
            path: path.to_owned(),
            map,
        })
    }

    fn missing(&mut self, table: &Table<'_>, name: &str, required: bool) {
        if required {
            self.fault(&table.at(name), "is missing");
        }
    }

    fn text<'v>(&mut self, table: &Table<'v>, name: &str, required: bool) -> Option<&'v str> {
        match table.get(name) {
            None => {
                self.missing(table, name, required);
                None
            }
            Some(Setting::String(text)) if !text.is_empty() => Some(text),
            Some(_) => {
                self.fault(&table.at(name), "isn't a string with something in it");
                None
            }
        }
    }

    fn choice<'v>(
        &mut self,
        table: &Table<'v>,
        name: &str,
        choices: &[&str],
        required: bool,
    ) -> Option<&'v str> {
        let text = self.text(table, name, required)?;
        if choices.contains(&text) {
            return Some(text);
        }
        self.fault(
            &table.at(name),
            format!("isn't one of {}", choices.join(", ")),
        );
        None
    }

    fn bool(&mut self, table: &Table<'_>, name: &str) -> Option<bool> {
        let value = table.get(name)?;
        if value.as_bool().is_none() {
            self.fault(&table.at(name), "isn't true or false");
        }
        value.as_bool()
    }

    fn integer(
        &mut self,
        table: &Table<'_>,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = table.get(name)?;
        let number = value.as_u64().filter(|n| range.contains(n));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            self.fault(
                &table.at(name),
                format!("isn't a whole number from {least} to {most}"),
            );
        }
        number
    }

    fn texts(&mut self, table: &Table<'_>, name: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for (path, value) in self.array(table, name, false) {
            match value.as_str().filter(|text| !text.is_empty()) {
                Some(text) => texts.push(text.to_owned()),
                None => self.fault(&path, "isn't a string with something in it"),
            }
        }
        texts
    }

    fn array<'v>(
        &mut self,
        table: &Table<'v>,
        name: &str,
        required: bool,
    ) -> Vec<(String, &'v Setting)> {
        let path = table.at(name);
        match table.get(name) {
            None => {
                self.missing(table, name, required);
                Vec::new()
            }
            Some(Setting::Array(values)) => values
                .iter()
                .enumerate()
                .map(|(place, value)| (format!("{path}[{place}]"), value))
                .collect(),
            Some(_) => {
                self.fault(&path, "isn't a list");
                Vec::new()
            }
        }
    }

    /// A list has to have something in it, and no more than `most`.
    fn check_count(&mut self, table: &Table<'_>, name: &str, most: usize) {
        let Some(Setting::Array(values)) = table.get(name) else {
            return;
        };
        if values.is_empty() || values.len() > most {
            let count = values.len();
            self.fault(
                &table.at(name),
                format!("has {count} {name}: 1 to {most} are needed"),
            );
        }
    }

    /// The name and the value of a secret that a setting names.
    fn secret<'v>(&mut self, table: &Table<'v>, name: &str) -> Option<(&'v str, &str)> {
        let secret = self.text(table, name, true)?;
        match self.secrets.get(secret) {
            // As it comes from a file or an echo: no key would ever match.
            Some(value) if value.trim() != value => {
                self.fault(
                    &table.at(name),
                    format!("the secret {secret} begins or ends with white space"),
                );
                None
            }
            Some(value) => Some((secret, value)),
            None => {
                self.fault(&table.at(name), NO_SECRET);
                None
            }
        }
    }

    fn destination_named(
        &mut self,
        table: &Table<'_>,
        name: &str,
        destinations: &[String],
        required: bool,
    ) -> Option<usize> {
        let wanted = self.text(table, name, required)?;
        let place = destinations.iter().position(|id| id == wanted);
        if place.is_none() {
            let known: Vec<&str> = destinations.iter().map(String::as_str).collect();
            let problem = format!(
                "isn't the name of a destination: there are {}",
                known.join(", ")
            );
            self.fault(&table.at(name), problem);
        }
        let Some((_, theirs)) = self.originals.iter().find(|(id, _)| id == wanted) else {
            return place;
        };
        let is_ours = |name: &&String| name.starts_with("webhook-") || theirs.contains(name);
        let clash = self.sender_headers.iter().find(is_ours).cloned();
        if self.redacting {
            self.fault(
                &table.at(name),
                "gets the sender's own bytes (format = \"original\"), from which phi can't take anything: the signature would no longer hold",
            );
        } else if clash
            .as_ref()
            .is_some_and(|name| name.starts_with("webhook-"))
        {
            self.fault(
                &table.at(name),
                "gets the sender's own headers (format = \"original\"), and those of this sender have the names of ours",
            );
        } else if let Some(header) = clash {
            let problem = format!(
                "gets the sender's own headers (format = \"original\"), and has a {header} of its own in headers"
            );
            self.fault(&table.at(name), problem);
        }
        place
    }
}

/// Printable ASCII: what lies beyond it reads differently from one HTTP library to the next, and some refuse to send it.
fn is_header_value(value: &str) -> bool {
    !value.trim().is_empty() && value.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t'))
}

struct Table<'v> {
    path: String,
    map: &'v Settings,
}

impl<'v> Table<'v> {
    fn get(&self, name: &str) -> Option<&'v Setting> {
        self.map.get(name)
    }

    fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}
