//! The messages about letters, between a machine and the object that keeps them.

use super::{Count, Filter, Letter, LetterId};
use crate::bytes::{Reader, Writer};
use crate::time::Timestamp;

/// What the object can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterRequest {
    /// Keep one, unless it is kept already.
    Keep {
        /// Its metadata.
        letter: Box<Letter>,
        /// Its content.
        sealed: Vec<u8>,
    },
    /// List some.
    List(Filter),
    /// Read one.
    Read(LetterId),
    /// Delete one.
    Remove(LetterId),
    /// Remember that one was sent on its way again, after so many times before.
    Mark(LetterId, u32),
    /// Count them.
    Count,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterReply {
    /// To `Keep`: it is kept.
    Kept,
    /// To `List`.
    Listed(Vec<Letter>),
    /// To `Read`: metadata and content, if it is there.
    Read(Option<(Letter, Vec<u8>)>),
    /// To `Remove` and `Mark`: whether it was there.
    Done(bool),
    /// To `Count`.
    Count(Count),
}

impl LetterRequest {
    pub(crate) fn write(&self, writer: Writer) -> Writer {
        match self {
            Self::Keep { letter, sealed } => letter.write(writer.u8(1)).block(sealed),
            Self::List(filter) => {
                let (at, id) = filter
                    .after
                    .unwrap_or((Timestamp(i64::MIN), LetterId([0; 16])));
                writer
                    .u8(2)
                    .optional(filter.source.as_deref())
                    .optional(filter.code.as_deref())
                    .i64(filter.since.0)
                    .i64(at.0)
                    .raw(&id.0)
                    .u8(u8::from(filter.waiting))
                    .u32(filter.limit)
            }
            Self::Read(id) => writer.u8(3).raw(&id.0),
            Self::Remove(id) => writer.u8(4).raw(&id.0),
            Self::Mark(id, redeliveries) => writer.u8(5).raw(&id.0).u32(*redeliveries),
            Self::Count => writer.u8(6),
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            1 => Self::Keep {
                letter: Box::new(Letter::read(reader)?),
                sealed: reader.block()?.to_vec(),
            },
            2 => Self::List(Filter {
                source: reader.optional()?,
                code: reader.optional()?,
                since: Timestamp(reader.i64()?),
                after: Some((Timestamp(reader.i64()?), LetterId(reader.array()?)))
                    .filter(|(at, _)| at.0 != i64::MIN),
                waiting: reader.u8()? == 1,
                limit: reader.u32()?,
            }),
            3 => Self::Read(LetterId(reader.array()?)),
            4 => Self::Remove(LetterId(reader.array()?)),
            5 => Self::Mark(LetterId(reader.array()?), reader.u32()?),
            6 => Self::Count,
            _ => return None,
        })
    }
}

impl LetterReply {
    pub(crate) fn write(&self, writer: Writer) -> Writer {
        match self {
            Self::Kept => writer.u8(1),
            Self::Listed(letters) => {
                let count = u32::try_from(letters.len()).unwrap_or(u32::MAX);
                let writer = writer.u8(2).u32(count);
                letters
                    .iter()
                    .fold(writer, |writer, letter| letter.write(writer))
            }
            Self::Read(None) => writer.u8(3),
            Self::Read(Some((letter, sealed))) => letter.write(writer.u8(4)).block(sealed),
            Self::Done(was_there) => writer.u8(5).u8(u8::from(*was_there)),
            Self::Count(count) => writer
                .u8(6)
                .u64(count.kept)
                .u64(count.withheld)
                .u64(count.waiting)
                .i64(count.oldest.map_or(i64::MIN, |at| at.0)),
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            1 => Self::Kept,
            2 => {
                let count = reader.u32()?;
                let letters = (0..count).map(|_| Letter::read(reader));
                Self::Listed(letters.collect::<Option<_>>()?)
            }
            3 => Self::Read(None),
            4 => Self::Read(Some((Letter::read(reader)?, reader.block()?.to_vec()))),
            5 => Self::Done(reader.u8()? == 1),
            6 => Self::Count(Count {
                kept: reader.u64()?,
                withheld: reader.u64()?,
                waiting: reader.u64()?,
                oldest: Some(Timestamp(reader.i64()?)).filter(|at| at.0 != i64::MIN),
            }),
            _ => return None,
        })
    }
}

impl Letter {
    /// The stored form of the metadata.
    pub fn pack(&self) -> Vec<u8> {
        self.write(Writer::default()).done()
    }

    /// Reads the stored form.
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let letter = Self::read(&mut reader)?;
        reader.end().map(|()| letter)
    }

    fn write(&self, writer: Writer) -> Writer {
        let texts = [&self.r#type, &self.webhook_id, &self.problem, &self.path];
        let writer = writer
            .raw(&self.id.0)
            .block(self.source.as_bytes())
            .block(self.code.as_bytes());
        texts
            .into_iter()
            .fold(writer, |writer, text| writer.optional(text.as_deref()))
            .i64(self.received_at.0)
            .i64(self.kept_at.0)
            .i64(self.expires_at.0)
            .i64(self.redelivered_at.map_or(i64::MIN, |at| at.0))
            .u32(self.redeliveries)
            .u32(self.body_bytes)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            id: LetterId(reader.array()?),
            source: reader.text()?.to_owned(),
            code: reader.text()?.to_owned(),
            r#type: reader.optional()?,
            webhook_id: reader.optional()?,
            problem: reader.optional()?,
            path: reader.optional()?,
            received_at: Timestamp(reader.i64()?),
            kept_at: Timestamp(reader.i64()?),
            expires_at: Timestamp(reader.i64()?),
            redelivered_at: Some(Timestamp(reader.i64()?)).filter(|at| at.0 != i64::MIN),
            redeliveries: reader.u32()?,
            body_bytes: reader.u32()?,
        })
    }
}
