//! Sources as the npm package has them, and requests to them that are signed as their senders do.

use std::collections::BTreeMap;

use rxgate::auth::scheme::{Head, Signer};
use rxgate::js::{PackageSource, Request, Signed};
use rxgate::time::Timestamp;
use serde_json::Value;

/// 2026-06-25T14:22:11Z
pub(crate) const NOW: Timestamp = Timestamp(1_782_397_331_000);
pub(crate) const URL: &str = "https://hooks.clinic.example/hooks/sender?tenant=7";
/// What stands for a patient's data, and nowhere else.
pub(crate) const CANARY: &str = "CANARY";

/// The secrets of all sources here, each under the path of its setting, as the package has them.
pub(crate) const KEY: &str = "fuzz-key-0123456789abcdef";
pub(crate) const WHSEC: &str = "whsec_ZnV6ei13ZWJob29rcy1rZXktb2YtdGhpcnR5LXR3byE=";
pub(crate) const WHPK: &str = "whpk_ge2aniKCaT2ojDRrLlBRUBbgYleS6tixwOFIR675wE0=";
/// The private half.
pub(crate) const WHSK: &str = "whsk_ZnV6ei1lZDI1NTE5LXNlZWQtb2YtMzItYnl0ZXMtMDE=";
const PHI_KEY: &str = "fuzz-phi-key-0123456789abcdef-0123456789";

pub(crate) fn secrets(key: &str) -> BTreeMap<String, String> {
    [
        ("keys[0].secret", key),
        ("path_tokens[0].secret", KEY),
        ("basic[0].secret", "portal:fuzz-password-0123456789"),
        ("header.keys[0].secret", KEY),
        ("scheme.api_key.secret", "fuzz-api-key-0123456789"),
        ("phi_key.secret", PHI_KEY),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The source of such a table, which has to be sound.
pub(crate) fn sound(id: &str, table: &Value, key: &str) -> PackageSource {
    let mut secrets = secrets(key);
    let named = table.to_string();
    // The package has those that the table names.
    secrets.retain(|name, _| named.contains(&format!("\"{name}\"")));
    match PackageSource::parse(id, table, secrets) {
        Ok(source) => source,
        Err(faults) => panic!("{table}: {faults:?}"),
    }
}

/// A request, with all that its head borrows.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) signed: Signed,
    pub(crate) body: Vec<u8>,
}

impl Sent {
    /// Signs a body as the sender would.
    pub(crate) fn sign(
        source: &PackageSource,
        key: Option<&str>,
        webhook: Option<&str>,
        body: &[u8],
    ) -> Result<Self, String> {
        let signer = Signer {
            key: "",
            api_key: None,
            id: "msg_1",
            at: NOW,
            method: "POST",
            url: Some(URL),
        };
        Ok(Self {
            signed: source.sign(&signer, key, webhook, body)?,
            body: body.to_vec(),
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.signed.headers.iter();
        let mut found = headers.filter(|(n, _)| n.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    /// Hands the request to `then`, as the package would.
    pub(crate) fn with<T>(
        &self,
        source: &PackageSource,
        then: impl FnOnce(&Request<'_>) -> T,
    ) -> T {
        let scheme = &source.source().scheme;
        let more: Vec<Option<&str>> = scheme
            .more_headers()
            .map(|name| self.header(name))
            .collect();
        let signature = scheme.signature_header().and_then(|name| self.header(name));
        then(&Request {
            head: Head {
                method: "POST",
                url: Some(URL),
                signature,
                more: &more,
                path: self.signed.path.as_deref(),
                address: None,
            },
            traceparent: None,
            body: &self.body,
            now: NOW,
        })
    }
}
