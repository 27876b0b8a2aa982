//! Where events may be sent.

/// Why a URL isn't taken as a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetFault {
    /// It isn't an absolute URL.
    NotAUrl,
    /// It isn't https (or, in development, http to this machine).
    NotHttps,
    /// It carries a user name or password.
    Credentials,
    /// It carries a fragment, which is never sent.
    Fragment,
}

/// Checks a destination's URL.
pub fn check_target(url: &str, development: bool) -> Result<(), TargetFault> {
    // Not `contains`: it brings what searches for a text.
    let has = |text: &str, byte| text.bytes().any(|b| b == byte);
    if has(url, b'#') {
        return Err(TargetFault::Fragment);
    }
    let (scheme, rest) = url.split_once(':').ok_or(TargetFault::NotAUrl)?;
    let rest = rest.strip_prefix("//").ok_or(TargetFault::NotAUrl)?;
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    if url.len() > MAX_URL_BYTES || scheme.is_empty() || !scheme.bytes().all(is_word) {
        return Err(TargetFault::NotAUrl);
    }
    // What RFC 3986 has nowhere is percent-encoded: clients differ on it. (A bar is left as it is; many write it.)
    let is_written = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{}".contains(&b);
    if !rest.bytes().all(is_written) {
        return Err(TargetFault::NotAUrl);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, _) = rest.split_at_checked(end).unwrap_or_default();
    if has(authority, b'@') {
        return Err(TargetFault::Credentials);
    }
    let host = host(authority).ok_or(TargetFault::NotAUrl)?;
    if scheme.eq_ignore_ascii_case("https") {
        return Ok(());
    }
    let is_local = scheme.eq_ignore_ascii_case("http") && development && is_loopback(host);
    is_local.then_some(()).ok_or(TargetFault::NotHttps)
}

/// Longer ones aren't taken by all that stands in between.
const MAX_URL_BYTES: usize = 65_534;

/// The host in front of a port that there may be. `None` if either isn't of its form (RFC 3986, 3.2; nothing in it is percent-encoded).
fn host(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(address) => address.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(end)?;
    let is_digit = |b: u8| b.is_ascii_hexdigit() || b == b':' || b == b'.';
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&b);
    let sound = match host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.bytes().all(is_digit),
        None => !host.is_empty() && host.bytes().all(is_letter),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<u16>().is_ok(),
        Some(_) => false,
        None => port.is_empty(),
    };
    (sound && port).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use proptest::prelude::*;

    use super::*;

    /// What `http` makes of the same.
    fn of_http(url: &str, development: bool) -> Result<(), TargetFault> {
        if url.contains('#') {
            return Err(TargetFault::Fragment);
        }
        let uri: Uri = url.parse().map_err(|_| TargetFault::NotAUrl)?;
        let authority = uri.authority().ok_or(TargetFault::NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(TargetFault::Credentials);
        }
        let host = authority.host();
        let has_port = authority.as_str().len() > host.len();
        if host.is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err(TargetFault::NotAUrl);
        }
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if development && is_loopback(host) => Ok(()),
            Some(_) => Err(TargetFault::NotHttps),
            None => Err(TargetFault::NotAUrl),
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_a_url_of_the_crate_as_well(
            url in "(https?|HTTPS|ftp|h t|)(://|:|:/|//)([a-c.:@%-]{0,8}|\\[[0-9a-f:.]{0,6}\\]|localhost|127\\.0\\.0\\.1)(:[0-9]{0,6})?([/?][ -~é]{0,6})?",
            development: bool,
        ) {
            let (ours, theirs) = (check_target(&url, development), of_http(&url, development));
            prop_assert!(ours.is_err() || theirs.is_ok(), "{} {:?} {:?}", url, ours, theirs);
        }

        #[test]
        fn what_is_usual_is_taken(
            url in "(https|http)://[a-z][a-z0-9-]{0,5}(\\.[a-z]{1,4}){1,3}(:[1-9][0-9]{0,3})?(/[a-zA-Z0-9._~%:-]{0,5}){0,3}(\\?[a-z]{1,3}=[a-z0-9%+]{0,4}(&[a-z]{1,3}=[a-z0-9]{0,3}){0,2})?",
            development: bool,
        ) {
            prop_assert_eq!(check_target(&url, development), of_http(&url, development), "{}", url);
        }
    }

    #[test]
    fn only_https_or_loopback_in_development() {
        assert_eq!(check_target("https://a.example/hook?x=1", false), Ok(()));
        for url in [
            "http://127.0.0.1:8788/",
            "http://[::1]/x",
            "http://localhost/",
        ] {
            assert_eq!(check_target(url, true), Ok(()), "{url}");
            assert_eq!(
                check_target(url, false),
                Err(TargetFault::NotHttps),
                "{url}"
            );
        }
        assert_eq!(
            check_target("http://a.example/", true),
            Err(TargetFault::NotHttps)
        );
        assert_eq!(
            check_target("ftp://a.example/", true),
            Err(TargetFault::NotHttps)
        );
        assert_eq!(
            check_target("https://u:p@a.example/", true),
            Err(TargetFault::Credentials)
        );
        assert_eq!(
            check_target("https://a.example/#x", true),
            Err(TargetFault::Fragment)
        );
        assert_eq!(check_target("/hook", true), Err(TargetFault::NotAUrl));
        assert_eq!(check_target("https:///x", true), Err(TargetFault::NotAUrl));
        assert_eq!(check_target("", true), Err(TargetFault::NotAUrl));
    }
}
