//! Which destination gets an event: the first route that matches, else the source's own.

use crate::bytes::find;

/// A glob over canonical types: `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern. `None` unless it is made of lower-case letters, `_`, `.` and `*`, and not empty.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || matches!(b, b'_' | b'.' | b'*');
        (!text.is_empty() && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }

    /// Whether `text` matches, as a whole.
    pub fn matches(&self, text: &str) -> bool {
        let mut pieces = self.0.split('*');
        let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            return rest.is_empty();
        };
        for piece in pieces {
            let after = find(rest, piece).and_then(|at| rest.get(at + piece.len()..));
            match after {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// One route. An empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Canonical types.
    pub types: Vec<Pattern>,
    /// Values of `rxpharmacy`.
    pub pharmacies: Vec<String>,
    /// Values of `rxbranch`.
    pub branches: Vec<String>,
    /// The destination's place in the configuration.
    pub destination: usize,
}

/// The destination of an event.
pub fn choose(
    routes: &[Route],
    default: usize,
    canonical_type: &str,
    pharmacy: Option<&str>,
    branch: Option<&str>,
) -> usize {
    let listed = |list: &[String], value: Option<&str>| {
        list.is_empty() || value.is_some_and(|value| list.iter().any(|item| item == value))
    };
    routes
        .iter()
        .find(|route| {
            (route.types.is_empty() || route.types.iter().any(|p| p.matches(canonical_type)))
                && listed(&route.pharmacies, pharmacy)
                && listed(&route.branches, branch)
        })
        .map_or(default, |route| route.destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        let matches = |pattern: &str, text| Pattern::parse(pattern).unwrap().matches(text);
        assert!(matches("rx.dispense.*", "rx.dispense.completed"));
        assert!(matches("*", "rx.unknown"));
        assert!(matches("rx.*.rejected", "rx.settlement.rejected"));
        assert!(matches("*.completed", "rx.dispense.completed"));
        assert!(matches("rx.unknown", "rx.unknown"));
        assert!(!matches("rx.unknown", "rx.unknown.more"));
        assert!(!matches("rx.dispense.*", "rx.dispense"));
        assert!(!matches("rx.*.rejected", "rx.rejected"));
        assert!(!matches("a*a", "a"));
        assert!(Pattern::parse("rx.[a]").is_none());
        assert!(Pattern::parse("").is_none());
    }

    #[test]
    fn the_first_route_that_matches_wins() {
        let route = |types: &[&str], pharmacies: &[&str], destination| Route {
            types: types.iter().filter_map(|t| Pattern::parse(t)).collect(),
            pharmacies: pharmacies.iter().map(|&p| p.to_owned()).collect(),
            branches: Vec::new(),
            destination,
        };
        let routes = [
            route(&["rx.dispense.*"], &["pharmacy-x"], 1),
            route(&["rx.dispense.*", "rx.settlement.*"], &[], 2),
        ];
        let chosen = |kind, pharmacy| choose(&routes, 0, kind, pharmacy, None);
        assert_eq!(chosen("rx.dispense.started", Some("pharmacy-x")), 1);
        assert_eq!(chosen("rx.dispense.started", Some("pharmacy-y")), 2);
        assert_eq!(chosen("rx.dispense.started", None), 2);
        assert_eq!(chosen("rx.authorization.voided", Some("pharmacy-x")), 0);
    }
}
