//! What an origin's status means for the event.

/// The fate of one delivery attempt that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The origin has the event.
    Delivered,
    /// The origin won't take it, however often it is sent.
    Rejected,
    /// The origin may take it another time.
    Failed,
}

/// What says "this event is wrong", unless the destination's settings say otherwise.
pub const PERMANENT_STATUSES: [u16; 5] = [400, 410, 413, 415, 422];

/// 2xx is delivered; what the destination counts as permanent is rejected; everything else may pass, redirects and refused credentials included.
pub fn classify(status: u16, permanent: &[u16]) -> Fate {
    match status {
        200..=299 => Fate::Delivered,
        _ if permanent.contains(&status) => Fate::Rejected,
        _ => Fate::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_fate() {
        let of = |wanted| (100..=599).filter(move |&s| classify(s, &PERMANENT_STATUSES) == wanted);
        assert_eq!(
            of(Fate::Delivered).collect::<Vec<_>>(),
            (200..=299).collect::<Vec<_>>()
        );
        assert_eq!(
            of(Fate::Rejected).collect::<Vec<_>>(),
            [400, 410, 413, 415, 422]
        );
        for passing in [
            301, 302, 401, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504,
        ] {
            assert_eq!(
                classify(passing, &PERMANENT_STATUSES),
                Fate::Failed,
                "{passing}"
            );
        }
    }
}
