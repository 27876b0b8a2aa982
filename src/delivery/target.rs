//! Where events may be sent.

use http::Uri;

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

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

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
