//! The one pass.

use std::borrow::Cow;

use super::{MAX_DEPTH, Problem};

/// What kind of value begins here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    True,
    False,
    Number,
    /// A string without escapes: its text is what stands between the quotes.
    Text,
    /// A string with escapes.
    Escaped,
    Array,
    Object,
}

/// Where a value is, and at which place of the index the one after it is. In an object, a key's value is the next one.
#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) next: u32,
    pub(super) kind: Kind,
}

impl Node {
    pub(super) const NULL: Self = Self {
        start: 0,
        end: 0,
        next: 0,
        kind: Kind::Null,
    };
}

/// The keys of an object with few are compared one by one; of one with many they are sorted at its end, so that hostile objects don't cost the square of their size.
const FEW_KEYS: u32 = 24;

/// A container that isn't closed yet.
#[derive(Clone, Copy)]
struct Open {
    place: u32,
    is_object: bool,
    keys: u32,
    /// One bit for each key, by what is cheap to tell of it: a key whose bit isn't set is new.
    seen: u64,
}

impl Open {
    const NONE: Self = Self {
        place: 0,
        is_object: false,
        keys: 0,
        seen: 0,
    };
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    /// The innermost container.
    here: Open,
    /// Those around it, `depth` of them.
    around: [Open; MAX_DEPTH as usize],
    depth: usize,
    /// For each container that is too deep, whether the one around it is an object. Of itself `here` knows as much, and no more.
    deep: Vec<bool>,
    /// The limit that was passed first. The rest is read all the same: what isn't JSON is told before what is too much of it.
    passed: Option<Problem>,
}

pub(super) fn scan(text: &str) -> Result<Vec<Node>, Problem> {
    // Places are 32 bits.
    u32::try_from(text.len()).map_err(|_| Problem::Syntax)?;
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        // A node for eight bytes, which is more than most events have.
        nodes: Vec::with_capacity(text.len() / 8 + 8),
        here: Open::NONE,
        around: [Open::NONE; MAX_DEPTH as usize],
        depth: 0,
        deep: Vec::new(),
        passed: None,
    };
    scanner.skip_space();
    loop {
        let opened = scanner.value()?;
        if !(opened && scanner.enter()?) && scanner.leave()? {
            break;
        }
    }
    if scanner.at < text.len() {
        return Err(Problem::Syntax);
    }
    match scanner.passed {
        Some(limit) => Err(limit),
        None => Ok(scanner.nodes),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "scan() checks that all places fit"
)]
fn place(at: usize) -> u32 {
    at as u32
}

impl Scanner<'_> {
    #[inline(always)]
    fn byte(&self) -> u8 {
        // No byte of JSON is 0.
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn skip_space(&mut self) {
        while matches!(self.byte(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn push(&mut self, start: usize, kind: Kind) {
        if self.passed.is_some() {
            return;
        }
        let next = place(self.nodes.len() + 1);
        self.nodes.push(Node {
            start: place(start),
            end: place(self.at),
            next,
            kind,
        });
    }

    /// Reads a value that holds no other, or the beginning of a container: whether it was that.
    #[inline(always)]
    fn value(&mut self) -> Result<bool, Problem> {
        let start = self.at;
        match self.byte() {
            b'"' => {
                let kind = self.string()?;
                self.push(start, kind);
            }
            b'-' | b'0'..=b'9' => {
                self.number()?;
                self.push(start, Kind::Number);
            }
            b'{' => return self.open(true),
            b'[' => return self.open(false),
            b't' => self.word("true", Kind::True)?,
            b'f' => self.word("false", Kind::False)?,
            b'n' => self.word("null", Kind::Null)?,
            _ => return Err(Problem::Syntax),
        }
        Ok(false)
    }

    fn open(&mut self, is_object: bool) -> Result<bool, Problem> {
        let place = place(self.nodes.len());
        match self.around.get_mut(self.depth) {
            Some(slot) => {
                *slot = self.here;
                self.here = Open {
                    place,
                    is_object,
                    ..Open::NONE
                };
                self.depth += 1;
            }
            None => {
                self.passed.get_or_insert(Problem::TooDeep);
                self.deep.push(self.here.is_object);
                self.here.is_object = is_object;
            }
        }
        let kind = if is_object { Kind::Object } else { Kind::Array };
        self.push(self.at, kind);
        self.at += 1;
        Ok(true)
    }

    /// Behind the bracket that opens a container: whether something stands in it, whose value is next.
    #[inline(always)]
    fn enter(&mut self) -> Result<bool, Problem> {
        self.skip_space();
        match (self.here.is_object, self.byte()) {
            (true, b'}') | (false, b']') => {
                self.close();
                Ok(false)
            }
            (true, _) => self.key().map(|()| true),
            (false, _) => Ok(true),
        }
    }

    /// Behind a value: whether it was the last one of all. If not, the next value is next.
    #[inline(always)]
    fn leave(&mut self) -> Result<bool, Problem> {
        loop {
            self.skip_space();
            if self.depth == 0 {
                return Ok(true);
            }
            match (self.here.is_object, self.byte()) {
                (is_object, b',') => {
                    self.at += 1;
                    self.skip_space();
                    if is_object {
                        self.key()?;
                    }
                    return Ok(false);
                }
                (true, b'}') | (false, b']') => self.close(),
                _ => return Err(Problem::Syntax),
            }
        }
    }

    fn close(&mut self) {
        self.at += 1;
        if let Some(is_object) = self.deep.pop() {
            self.here.is_object = is_object;
            return;
        }
        let open = self.here;
        let (end, next) = (place(self.at), place(self.nodes.len()));
        if let Some(node) = self.nodes.get_mut(open.place as usize) {
            (node.end, node.next) = (end, next);
        }
        self.depth -= 1;
        self.here = self.around.get(self.depth).copied().unwrap_or(Open::NONE);
        if open.keys > FEW_KEYS && self.passed.is_none() && self.repeats(open) {
            self.passed = Some(Problem::DuplicateKey);
        }
    }

    /// A key, its colon, and the space up to its value.
    #[inline(always)]
    fn key(&mut self) -> Result<(), Problem> {
        let start = self.at;
        if self.byte() != b'"' {
            return Err(Problem::Syntax);
        }
        let kind = self.string()?;
        self.check_key(start, kind)?;
        self.push(start, kind);
        self.skip_space();
        if self.byte() != b':' {
            return Err(Problem::Syntax);
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    #[inline(always)]
    fn check_key(&mut self, start: usize, kind: Kind) -> Result<(), Problem> {
        if self.passed.is_some() && kind == Kind::Text {
            return Ok(());
        }
        let escaped = kind == Kind::Escaped;
        let written = self.bytes.get(start + 1..self.at - 1).unwrap_or_default();
        let bit = match (written, escaped) {
            // It may be the same as any other, and needs a text: two readers could take half a surrogate pair for two keys.
            (_, true) => u64::MAX,
            ([], false) => 1,
            ([first, .., last], false) => {
                1 << ((usize::from(*first) * 7 + usize::from(*last) * 3 + written.len()) % 64)
            }
            ([only], false) => 1 << (only % 64),
        };
        let maybe = self.here.seen & bit != 0;
        self.here.seen |= bit;
        self.here.keys += 1;
        if maybe || escaped {
            return self.compare_key(start, kind);
        }
        Ok(())
    }

    #[cold]
    fn compare_key(&mut self, start: usize, kind: Kind) -> Result<(), Problem> {
        let text = self.text.get(start + 1..self.at - 1).unwrap_or_default();
        let key = key_text(text, kind).ok_or(Problem::Syntax)?;
        let open = self.here;
        let comparable = open.keys <= FEW_KEYS && self.passed.is_none();
        if comparable && self.keys(open).any(|other| other == key) {
            self.passed = Some(Problem::DuplicateKey);
        }
        Ok(())
    }

    /// The keys of an object so far.
    fn keys(&self, open: Open) -> impl Iterator<Item = Cow<'_, str>> {
        let mut at = open.place as usize + 1;
        std::iter::from_fn(move || {
            let key = self.nodes.get(at)?;
            at = self
                .nodes
                .get(at + 1)
                .map_or(usize::MAX, |value| value.next as usize);
            let text = self
                .text
                .get(key.start as usize + 1..key.end as usize - 1)?;
            key_text(text, key.kind)
        })
    }

    fn repeats(&self, open: Open) -> bool {
        let keys = super::sorted(self.keys(open).map(|key| (key, 0)).collect());
        keys.windows(2).any(|pair| pair.first() == pair.last())
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<(), Problem> {
        let (start, end) = (self.at, self.at + word.len());
        if self.bytes.get(start..end) != Some(word.as_bytes()) {
            return Err(Problem::Syntax);
        }
        self.at = end;
        self.push(start, kind);
        Ok(())
    }

    /// `-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?`
    #[inline(always)]
    fn number(&mut self) -> Result<(), Problem> {
        if self.byte() == b'-' {
            self.at += 1;
        }
        if self.byte() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline(always)]
    fn digits(&mut self) -> Result<(), Problem> {
        let start = self.at;
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start {
            return Err(Problem::Syntax);
        }
        Ok(())
    }

    /// From its first quote to behind its last.
    #[inline(always)]
    fn string(&mut self) -> Result<Kind, Problem> {
        self.at = plain_end(self.bytes, self.at + 1);
        if self.byte() == b'"' {
            self.at += 1;
            return Ok(Kind::Text);
        }
        self.escaped_string()
    }

    fn escaped_string(&mut self) -> Result<Kind, Problem> {
        loop {
            match self.byte() {
                b'"' => {
                    self.at += 1;
                    return Ok(Kind::Escaped);
                }
                b'\\' => self.escape()?,
                // A control character, or the end.
                _ => return Err(Problem::Syntax),
            }
            self.at = plain_end(self.bytes, self.at);
        }
    }

    fn escape(&mut self) -> Result<(), Problem> {
        let after = match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(Problem::Syntax);
                }
                6
            }
            _ => return Err(Problem::Syntax),
        };
        self.at += after;
        Ok(())
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES << 7;

/// The first place from `at` on where a string ends, an escape begins, or a control character is. Eight bytes at a time.
#[inline(always)]
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let plain = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
    at + plain.unwrap_or(rest.len())
}

/// Whether two texts are the same. Most names are short: eight bytes at a time they are compared before a call would have begun.
#[inline(always)]
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    match (one.last_chunk::<8>(), other.last_chunk::<8>()) {
        (Some(last), Some(others)) => {
            let (words, _) = one.as_chunks::<8>();
            let mut pairs = words.iter().zip(other.as_chunks::<8>().0);
            word(last) == word(others) && pairs.all(|(a, b)| word(a) == word(b))
        }
        _ => one.iter().zip(other).all(|(a, b)| a == b),
    }
}

/// The high bit of each byte that is a quote, a backslash or a control character. Above the lowest of them it may be wrong.
#[inline(always)]
pub(super) fn special(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero(word ^ (ONES * 0x22));
    let backslash = zero(word ^ (ONES * 0x5c));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGHS
}

fn key_text(written: &str, kind: Kind) -> Option<Cow<'_, str>> {
    match kind {
        Kind::Escaped => unescape(written).map(Cow::Owned),
        _ => Some(Cow::Borrowed(written)),
    }
}

/// The text of what stands between a string's quotes. `None` if a half of a surrogate pair has no other.
pub(super) fn unescape(written: &str) -> Option<String> {
    let mut text = String::with_capacity(written.len());
    let mut parts = written.split('\\');
    text.push_str(parts.next().unwrap_or_default());
    let mut high = None;
    while let Some(part) = parts.next() {
        // Two backslashes are an empty part, and what stands behind them is plain.
        if part.is_empty() {
            if high.is_some() {
                return None;
            }
            text.push('\\');
            text.push_str(parts.next().unwrap_or_default());
            continue;
        }
        let (kind, rest) = part.split_at_checked(1)?;
        let (char, rest) = match kind {
            "b" => ('\u{8}', rest),
            "f" => ('\u{c}', rest),
            "n" => ('\n', rest),
            "r" => ('\r', rest),
            "t" => ('\t', rest),
            "u" => {
                let (digits, rest) = rest.split_at_checked(4)?;
                let unit = u32::from_str_radix(digits, 16).ok()?;
                let char = match (high.take(), unit) {
                    (None, 0xd800..=0xdbff) if rest.is_empty() => {
                        high = Some(unit);
                        continue;
                    }
                    (Some(high), 0xdc00..=0xdfff) => {
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00))?
                    }
                    (None, unit) => char::from_u32(unit)?,
                    (Some(_), _) => return None,
                };
                (char, rest)
            }
            // A quote, a slash.
            _ => (kind.chars().next()?, rest),
        };
        if high.is_some() {
            return None;
        }
        text.push(char);
        text.push_str(rest);
    }
    high.is_none().then_some(text)
}
