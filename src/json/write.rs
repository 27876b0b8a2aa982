//! Writing JSON: what our own types hold is texts, whole numbers, flags, lists and objects, and values as they were sent.

use std::fmt;

use serde::ser::{
    Error, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer,
};

use super::scan::special;

/// The name under which a value is written as it stands.
pub(super) const RAW: &str = "rxgate::Raw";

/// What no type of ours holds: a fraction, bytes, a key that isn't a text.
#[derive(Debug)]
pub(crate) struct Unwritable;

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("can't be written as JSON")
    }
}

impl std::error::Error for Unwritable {}

impl Error for Unwritable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// The value as JSON.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write_to(&mut out, value);
    out
}

/// The same as text.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> String {
    // What is written is text, and whole.
    String::from_utf8(to_vec(value)).unwrap_or_default()
}

/// Writes the value behind what is there.
pub fn write_to<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Our types hold nothing that is unwritable.
    let written = value.serialize(Writer { out, raw: false });
    debug_assert!(written.is_ok(), "a type holds what can't be written");
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Whether a text is JSON, to be written as it stands.
    raw: bool,
}

/// A list or an object that isn't closed yet.
struct Open<'o> {
    out: &'o mut Vec<u8>,
    close: u8,
    is_first: bool,
}

impl<'o> Writer<'o> {
    fn open(self, open: u8, close: u8) -> Open<'o> {
        self.out.push(open);
        Open {
            out: self.out,
            close,
            is_first: true,
        }
    }

    fn number(self, number: impl fmt::Display) -> Result<(), Unwritable> {
        use std::io::Write;
        write!(self.out, "{number}").map_err(|_| Unwritable)
    }
}

impl Open<'_> {
    #[inline(always)]
    fn comma(&mut self) {
        if !self.is_first {
            self.out.push(b',');
        }
        self.is_first = false;
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        value.serialize(Writer {
            out: self.out,
            raw: false,
        })
    }

    /// The name of a field of ours, which needs no escapes. Byte by byte but for the name itself: to copy two bytes costs a call.
    #[inline(never)]
    fn name(&mut self, name: &str) {
        self.out.reserve(name.len() + 4);
        self.comma();
        self.out.push(b'"');
        put(self.out, name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn end(self) {
        self.out.push(self.close);
    }
}

/// A few bytes, in pieces of a known length: to have them copied is a call, and in wasm one out of it.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > 64 {
        out.extend_from_slice(bytes);
        return;
    }
    out.reserve(bytes.len());
    let mut rest = bytes;
    while let Some((eight, behind)) = rest.split_first_chunk::<8>() {
        out.extend_from_slice(eight);
        rest = behind;
    }
    if let Some((four, behind)) = rest.split_first_chunk::<4>() {
        out.extend_from_slice(four);
        rest = behind;
    }
    for byte in rest {
        out.push(*byte);
    }
}

/// A string, with the escapes that have to be.
fn text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    let is_plain = |word: &[u8; 8]| special(u64::from_le_bytes(*word)) == 0;
    let ends_plain = rest.last_chunk().is_some_and(is_plain);
    loop {
        match rest.split_first_chunk() {
            Some((word, behind)) if is_plain(word) => {
                out.extend_from_slice(word);
                rest = behind;
                continue;
            }
            None if ends_plain => {
                put(out, rest);
                break;
            }
            _ => {}
        }
        let Some((byte, behind)) = rest.split_first() else {
            break;
        };
        match byte {
            b'"' | b'\\' | 0..=0x1f => escape(out, *byte),
            plain => out.push(*plain),
        }
        rest = behind;
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        8 => b'b',
        9 => b't',
        10 => b'n',
        12 => b'f',
        13 => b'r',
        _ => {
            out.extend_from_slice(b"\\u00");
            let digits = [byte >> 4, byte & 15];
            out.extend(digits.map(|n| if n < 10 { b'0' + n } else { b'a' - 10 + n }));
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

impl<'o> Serializer for Writer<'o> {
    type Ok = ();
    type Error = Unwritable;
    type SerializeSeq = Open<'o>;
    type SerializeTuple = Open<'o>;
    type SerializeTupleStruct = Impossible<(), Unwritable>;
    type SerializeTupleVariant = Impossible<(), Unwritable>;
    type SerializeMap = Open<'o>;
    type SerializeStruct = Open<'o>;
    type SerializeStructVariant = Impossible<(), Unwritable>;

    fn serialize_bool(self, v: bool) -> Result<(), Unwritable> {
        let word: &[u8] = if v { b"true" } else { b"false" };
        self.out.extend_from_slice(word);
        Ok(())
    }
    fn serialize_i8(self, v: i8) -> Result<(), Unwritable> {
        self.serialize_i64(v.into())
    }
    fn serialize_i16(self, v: i16) -> Result<(), Unwritable> {
        self.serialize_i64(v.into())
    }
    fn serialize_i32(self, v: i32) -> Result<(), Unwritable> {
        self.serialize_i64(v.into())
    }
    fn serialize_i64(self, v: i64) -> Result<(), Unwritable> {
        self.number(v)
    }
    fn serialize_u8(self, v: u8) -> Result<(), Unwritable> {
        self.serialize_u64(v.into())
    }
    fn serialize_u16(self, v: u16) -> Result<(), Unwritable> {
        self.serialize_u64(v.into())
    }
    fn serialize_u32(self, v: u32) -> Result<(), Unwritable> {
        self.serialize_u64(v.into())
    }
    fn serialize_u64(self, v: u64) -> Result<(), Unwritable> {
        self.number(v)
    }
    fn serialize_f32(self, _: f32) -> Result<(), Unwritable> {
        Err(Unwritable)
    }
    fn serialize_f64(self, _: f64) -> Result<(), Unwritable> {
        Err(Unwritable)
    }
    fn serialize_char(self, v: char) -> Result<(), Unwritable> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, v: &str) -> Result<(), Unwritable> {
        if self.raw {
            self.out.extend_from_slice(v.as_bytes());
        } else {
            text(self.out, v);
        }
        Ok(())
    }
    fn serialize_bytes(self, _: &[u8]) -> Result<(), Unwritable> {
        Err(Unwritable)
    }
    fn serialize_none(self) -> Result<(), Unwritable> {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Unwritable> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unwritable> {
        self.serialize_unit()
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Unwritable> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        let raw = name == RAW;
        value.serialize(Writer { raw, ..self })
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Unwritable> {
        Err(Unwritable)
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Open<'o>, Unwritable> {
        Ok(self.open(b'[', b']'))
    }
    fn serialize_tuple(self, _: usize) -> Result<Open<'o>, Unwritable> {
        Ok(self.open(b'[', b']'))
    }
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Unwritable> {
        Err(Unwritable)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unwritable> {
        Err(Unwritable)
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Open<'o>, Unwritable> {
        Ok(self.open(b'{', b'}'))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Open<'o>, Unwritable> {
        Ok(self.open(b'{', b'}'))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unwritable> {
        Err(Unwritable)
    }
    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        self.serialize_str(&value.to_string())
    }
}

impl SerializeSeq for Open<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.comma();
        self.value(value)
    }
    fn end(self) -> Result<(), Unwritable> {
        Open::end(self);
        Ok(())
    }
}

impl serde::ser::SerializeTuple for Open<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        SerializeSeq::serialize_element(self, value)
    }
    fn end(self) -> Result<(), Unwritable> {
        Open::end(self);
        Ok(())
    }
}

impl SerializeMap for Open<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unwritable> {
        // A key is a text: anything else would begin with something else.
        self.comma();
        let start = self.out.len();
        self.value(key)?;
        let is_text = self.out.get(start) == Some(&b'"');
        is_text.then_some(()).ok_or(Unwritable)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.out.push(b':');
        self.value(value)
    }
    fn end(self) -> Result<(), Unwritable> {
        Open::end(self);
        Ok(())
    }
}

impl SerializeStruct for Open<'_> {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Unwritable> {
        self.name(key);
        self.value(value)
    }
    fn end(self) -> Result<(), Unwritable> {
        Open::end(self);
        Ok(())
    }
}
