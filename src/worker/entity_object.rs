//! The Durable Object: SQLite under [`serve`]. Its calls are synchronous, so that a trap reaches the caller as an exception. `store.mjs` calls them and runs the statements: see DESIGN.md §2.

use std::cell::{Cell, RefCell};

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::{DurableObject, Env, Request, Response, SqlStorage, State};

use super::edge::{address, length, timestamp};
use crate::bytes::{Reader, Writer};
use crate::entity::{
    Cost, EntityKey, Expected, Notices, Page, RowCorrupt, Standing, Store, WireCorrupt, notified,
    overdue, serve,
};
use crate::letters::{Count, Filter, Letter, LetterId, TOMBSTONE};
use crate::parcel::Reason;
use crate::time::Timestamp;

/// An entity has one row, and one more for each 64 events beyond its first 64. No rowid and no index on time: a claim writes one row.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS rows (
        entity BLOB NOT NULL, page INTEGER NOT NULL, expires INTEGER NOT NULL, packed BLOB NOT NULL,
        PRIMARY KEY (entity, page)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;";

/// Only the object that keeps the dead letters has these. A letter that was deleted leaves its id, so that a message of it that comes late doesn't bring it back.
const LETTERS_SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS letters (
        id BLOB NOT NULL PRIMARY KEY, received INTEGER NOT NULL, source TEXT NOT NULL, code TEXT NOT NULL, expires INTEGER NOT NULL,
        redelivered INTEGER, redeliveries INTEGER NOT NULL DEFAULT 0, label BLOB, sealed BLOB
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS letters_by_time ON letters (received, id);";

/// Only an object of whose entities callbacks are expected has these. `at` is when there is something to do: of a pending one, when it is due; of the others, when they are
/// forgotten. The one index serves both, so neither costs more for what there is nothing to do about yet.
const EXPECTED_SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS expected (
        entity BLOB NOT NULL PRIMARY KEY, standing INTEGER NOT NULL, at INTEGER NOT NULL, due INTEGER NOT NULL, kept INTEGER NOT NULL, notice BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS expected_by_time ON expected (standing, at);";

/// One step of the walk that deletes what has expired.
const SWEEP_ROWS: i64 = 5000;
/// The next step of a walk.
const SWEEP_STEP_MS: f64 = 1000.0;
/// Between two walks.
const SWEEP_REST_MS: f64 = 12.0 * 3600.0 * 1000.0;

#[wasm_bindgen]
extern "C" {
    /// Runs a statement of an object's: the address and the length of its text, then of what is bound, 9 bytes each. What came of it is written to `to` if there is `room`: 4 bytes of
    /// rows read, 4 of rows written, and, if they are `wanted`, the rows' values. Answers how many bytes that is; 0: it failed.
    #[wasm_bindgen(js_name = rxgateSql)]
    fn run_sql(
        sql: &JsValue,
        text: u32,
        text_len: u32,
        bound: u32,
        bound_len: u32,
        wanted: u32,
        to: u32,
        room: u32,
    ) -> u32;
    /// Writes what there was no room for.
    #[wasm_bindgen(js_name = rxgateSqlAgain)]
    fn run_sql_again(to: u32);
}

/// What most messages and rows have room in.
const ROOM_BYTES: usize = 4096;
/// Places for rows that are held, of all objects of this instance. Each row is some 100 bytes, and 3 KiB at most.
const MAX_HELD: usize = 512;

thread_local! {
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static ROWS: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static REPLY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static HELD: RefCell<Held> = const { RefCell::new(Held(Vec::new())) };
    static OBJECTS: Cell<u32> = const { Cell::new(0) };
}

/// Heads as they are stored, so that a commit needn't read what its claim wrote. An object is the only one that writes its rows, and it is gone, with its number, if a write fails.
///
/// An entity has one place, by its key, which is a hash. Who comes later has it.
struct Held(Vec<Option<(u32, EntityKey, Vec<u8>)>>);

impl Held {
    fn place(&mut self, entity: EntityKey) -> Option<&mut Option<(u32, EntityKey, Vec<u8>)>> {
        self.0.resize(MAX_HELD, None);
        let [.., high, low] = entity.0;
        let place = usize::from(u16::from_be_bytes([high, low]));
        self.0.get_mut(place % MAX_HELD)
    }

    fn get(&mut self, object: u32, entity: EntityKey) -> Option<Vec<u8>> {
        match self.place(entity) {
            Some(Some((of, key, head))) if (*of, *key) == (object, entity) => Some(head.clone()),
            _ => None,
        }
    }

    fn put(&mut self, object: u32, entity: EntityKey, head: Vec<u8>) {
        if let Some(place) = self.place(entity) {
            *place = Some((object, entity, head));
        }
    }

    fn forget(&mut self, object: u32, entity: EntityKey) {
        if let Some(place) = self.place(entity) {
            place.take_if(|(of, key, _)| (*of, *key) == (object, entity));
        }
    }

    fn forget_all(&mut self, object: u32) {
        for place in &mut self.0 {
            place.take_if(|(of, ..)| *of == object);
        }
    }
}

/// Holds the rows of the entities of one shard.
#[worker::durable_object(fetch)]
pub struct EntityObject {
    sql: SqlStorage,
    /// No other object of the instance has it.
    number: u32,
}

impl DurableObject for EntityObject {
    fn new(state: State, _env: Env) -> Self {
        // The `worker` crate's hook prints a panic's message, which may hold anything. The trap that follows is logged by `entry.mjs`.
        std::panic::set_hook(Box::new(|_| {}));
        let number = OBJECTS.get();
        OBJECTS.set(number.wrapping_add(1));
        Self {
            sql: state.storage().sql(),
            number,
        }
    }

    /// Nothing is served here: `entry.mjs` calls `serve`.
    async fn fetch(&self, _request: Request) -> worker::Result<Response> {
        Response::error("", 404)
    }
}

/// Where a message of so many bytes goes.
#[wasm_bindgen]
#[expect(unreachable_pub, reason = "wasm-bindgen exports what is pub")]
pub fn object_message(len: u32) -> u32 {
    MESSAGE.with_borrow_mut(|message| {
        message.resize(ROOM_BYTES.max(len as usize), 0);
        address(message.as_mut_ptr().expose_provenance())
    })
}

/// What they answer is an address: see [`answer`].
#[wasm_bindgen]
impl EntityObject {
    /// Makes the tables. Called once for each object and instance.
    pub fn open(&self) -> u32 {
        answer(Rows::new(self).run(SCHEMA, &[]).map(|()| Vec::new()))
    }

    /// Answers one message, which was put where [`object_message`] says.
    pub fn serve(&self, len: u32, now: f64) -> u32 {
        answer(with_message(len, |message| {
            #[cfg(feature = "test-hooks")]
            super::hooks::trap(message);
            let rows = Rows::new(self);
            let reply = serve(&rows, message, timestamp(now))?;
            Ok(reply.pack(rows.cost.get()))
        }))
    }

    /// One step of the walk. Answers how many milliseconds until the next one; negative: there is nothing left to walk.
    pub fn sweep(&self, now: f64) -> u32 {
        answer(Rows::new(self).sweep(timestamp(now)).map(number_of))
    }

    /// The walk's next step, unless it rests; as [`sweep`](Self::sweep). An object that is woken for other things as well notes until when.
    pub fn walk(&self, now: f64) -> u32 {
        answer(Rows::new(self).walk(timestamp(now)).map(number_of))
    }

    /// How many were met (4 bytes), and the notices to send now: of each its key (16 bytes), its length (4 bytes) and the message.
    pub fn overdue(&self, now: f64) -> u32 {
        let notices = overdue(&Rows::new(self), timestamp(now));
        answer(notices.map(|notices| notices.pack()))
    }

    /// These notices, as [`overdue`](Self::overdue) told them, are in our queue.
    pub fn notified(&self, len: u32, now: f64) -> u32 {
        answer(with_message(len, |message| {
            let notices = Notices::unpack(message)?;
            notified(&Rows::new(self), &notices, timestamp(now))?;
            Ok(Vec::new())
        }))
    }

    /// How many milliseconds until the next notice is due; 0 if one is; negative: nothing is expected.
    pub fn due(&self, now: f64) -> u32 {
        answer(Rows::new(self).due(timestamp(now)).map(number_of))
    }

    /// Fills the object with entities of one event each. Only the test build has it.
    #[cfg(feature = "test-hooks")]
    pub fn fill(&self, from: u32, to: u32, expires_in_ms: f64, now: f64) -> u32 {
        let filled = Rows::new(self).fill(from..to, expires_in_ms, timestamp(now));
        answer(filled.map(|()| Vec::new()))
    }
}

fn with_message<T>(len: u32, read: impl FnOnce(&[u8]) -> T) -> T {
    MESSAGE.with_borrow(|message| read(message.get(..len as usize).unwrap_or_default()))
}

fn number_of(number: f64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Where the answer is: 4 bytes that say whether it is a fault, 4 of its length, and the answer, or the fault's name.
fn answer(answer: Result<Vec<u8>, StoreFault>) -> u32 {
    let (failed, bytes) = match answer {
        Ok(bytes) => (0, bytes),
        Err(fault) => (1, fault.name().as_bytes().to_vec()),
    };
    let reply = Writer::with_capacity(8 + bytes.len());
    let reply = reply.u32(failed).block(&bytes).done();
    let place = address(reply.as_ptr().expose_provenance());
    REPLY.set(reply);
    place
}

/// Why a call failed. Names what, never which.
#[derive(Clone, Copy, Debug)]
enum StoreFault {
    Sql,
    RowCorrupt,
    WireCorrupt,
}

impl From<RowCorrupt> for StoreFault {
    fn from(_: RowCorrupt) -> Self {
        Self::RowCorrupt
    }
}

impl From<WireCorrupt> for StoreFault {
    fn from(_: WireCorrupt) -> Self {
        Self::WireCorrupt
    }
}

impl StoreFault {
    fn name(self) -> &'static str {
        match self {
            Self::Sql => "store_sql_failed",
            Self::RowCorrupt => "store_row_corrupt",
            Self::WireCorrupt => "store_message_corrupt",
        }
    }
}

/// What is bound to a statement.
#[derive(Clone, Copy)]
enum Bound<'a> {
    Number(i64),
    Blob(&'a [u8]),
    Text(&'a str),
    Null,
}

impl Bound<'_> {
    /// A number as a double, JavaScript's; bytes by their address and length.
    fn pack(&self, writer: Writer) -> Writer {
        let place = |writer: Writer, kind, bytes: &[u8]| {
            let at = address(bytes.as_ptr().expose_provenance());
            writer.u8(kind).u32(at).u32(length(bytes.len()))
        };
        match self {
            Self::Null => writer.u8(0).u64(0),
            Self::Number(number) => writer.u8(1).u64((*number as f64).to_bits()),
            Self::Blob(bytes) => place(writer, 2, bytes),
            Self::Text(text) => place(writer, 3, text.as_bytes()),
        }
    }
}

/// A stored value.
#[derive(Debug)]
enum Value {
    Null,
    Number(i64),
    Blob(Vec<u8>),
    /// What we don't store.
    Other,
}

impl Value {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            0 => Self::Null,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole numbers below 2^53 were written"
            )]
            1 => Self::Number(f64::from_bits(reader.u64()?) as i64),
            2 => Self::Blob(reader.block()?.to_vec()),
            3 => Self::Other,
            _ => return None,
        })
    }

    fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// The rows of one object, and what reading and writing them cost so far.
struct Rows<'a> {
    sql: &'a SqlStorage,
    object: u32,
    cost: Cell<Cost>,
    /// Whether the entity that was loaded last has pages beside its head.
    paged: Cell<bool>,
}

impl<'a> Rows<'a> {
    fn new(object: &'a EntityObject) -> Self {
        Self {
            sql: &object.sql,
            object: object.number,
            cost: Cell::default(),
            paged: Cell::new(false),
        }
    }

    /// Runs a statement that gives no rows.
    fn run(&self, statement: &'static str, bound: &[Bound<'_>]) -> Result<(), StoreFault> {
        self.exec::<0>(statement, bound, false).map(drop)
    }

    /// Runs a statement, and reads the rows that it gives, of so many columns.
    fn rows<const N: usize>(
        &self,
        statement: &'static str,
        bound: &[Bound<'_>],
    ) -> Result<Vec<[Value; N]>, StoreFault> {
        self.exec(statement, bound, true)
    }

    fn first<const N: usize>(
        &self,
        statement: &'static str,
        bound: &[Bound<'_>],
    ) -> Result<Option<[Value; N]>, StoreFault> {
        Ok(self.rows(statement, bound)?.into_iter().next())
    }

    fn exec<const N: usize>(
        &self,
        statement: &'static str,
        bound: &[Bound<'_>],
        wanted: bool,
    ) -> Result<Vec<[Value; N]>, StoreFault> {
        let bound = bound
            .iter()
            .fold(Writer::with_capacity(9 * bound.len()), |writer, value| {
                value.pack(writer)
            })
            .done();
        // Taken while JavaScript writes to it.
        let mut buffer = ROWS.take();
        buffer.resize(ROOM_BYTES, 0);
        let place = |bytes: &[u8]| address(bytes.as_ptr().expose_provenance());
        let len = run_sql(
            self.sql.as_ref(),
            place(statement.as_bytes()),
            length(statement.len()),
            place(&bound),
            length(bound.len()),
            wanted.into(),
            address(buffer.as_mut_ptr().expose_provenance()),
            length(buffer.len()),
        ) as usize;
        if len > buffer.len() {
            buffer = vec![0; len];
            run_sql_again(address(buffer.as_mut_ptr().expose_provenance()));
        }
        let read = self.read(buffer.get(..len).unwrap_or_default());
        if len <= ROOM_BYTES {
            ROWS.set(buffer);
        }
        read
    }

    fn read<const N: usize>(&self, bytes: &[u8]) -> Result<Vec<[Value; N]>, StoreFault> {
        let mut reader = Reader::new(bytes);
        let (Some(read), Some(written)) = (reader.u32(), reader.u32()) else {
            return Err(StoreFault::Sql);
        };
        let mut cost = self.cost.get();
        cost.read = cost.read.saturating_add(read);
        cost.written = cost.written.saturating_add(written);
        self.cost.set(cost);
        let mut rows = Vec::new();
        while reader.end().is_none() {
            let mut row = [const { Value::Null }; N];
            for value in &mut row {
                *value = Value::read(&mut reader).ok_or(StoreFault::RowCorrupt)?;
            }
            if N == 0 {
                return Err(StoreFault::RowCorrupt);
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        let noted = "SELECT value FROM notes WHERE name = ?";
        match self.first(noted, &[Bound::Text(name)])? {
            None => Ok(None),
            Some([Value::Blob(value)]) => Ok(Some(value)),
            Some(_) => Err(StoreFault::RowCorrupt),
        }
    }

    fn set_note(&self, name: &str, value: &[u8]) -> Result<(), StoreFault> {
        self.run(
            "INSERT OR REPLACE INTO notes VALUES (?, ?)",
            &[Bound::Text(name), Bound::Blob(value)],
        )
    }

    /// Deletes what has expired among the next rows by primary key; where the walk stands is noted.
    fn sweep(&self, now: Timestamp) -> Result<f64, StoreFault> {
        // What is deleted mustn't be held.
        HELD.with_borrow_mut(|held| held.forget_all(self.object));
        let from = self.note("swept")?.unwrap_or_default();
        let from = Bound::Blob(&from);
        let now = Bound::Number(now.0);
        let end = self.first(
            "SELECT entity FROM rows WHERE entity > ? ORDER BY entity LIMIT 1 OFFSET ?",
            &[from, Bound::Number(SWEEP_ROWS - 1)],
        )?;
        if let Some([Value::Blob(end)]) = &end {
            self.run(
                "DELETE FROM rows WHERE entity > ? AND entity <= ? AND expires <= ?",
                &[from, Bound::Blob(end), now],
            )?;
            self.set_note("swept", end)?;
            return Ok(SWEEP_STEP_MS);
        }
        self.run(
            "DELETE FROM rows WHERE entity > ? AND expires <= ?",
            &[from, now],
        )?;
        self.set_note("swept", &[])?;
        let mut is_empty = self.is_empty("SELECT 1 FROM rows LIMIT 1", &[])?;
        if self.has_table("expected")? {
            let forgotten = "DELETE FROM expected WHERE standing IN (1, 2) AND at <= ?";
            self.run(forgotten, &[now])?;
            is_empty &= self.is_empty("SELECT 1 FROM expected LIMIT 1", &[])?;
        }
        if self.has_table("letters")? {
            self.run("DELETE FROM letters WHERE expires <= ?", &[now])?;
            is_empty &= self.is_empty("SELECT 1 FROM letters LIMIT 1", &[])?;
        }
        Ok(if is_empty { -1.0 } else { SWEEP_REST_MS })
    }

    fn is_empty(&self, statement: &'static str, bound: &[Bound<'_>]) -> Result<bool, StoreFault> {
        Ok(self.rows::<1>(statement, bound)?.is_empty())
    }

    fn has_table(&self, name: &str) -> Result<bool, StoreFault> {
        let known = "SELECT 1 FROM sqlite_master WHERE name = ?";
        Ok(!self.is_empty(known, &[Bound::Text(name)])?)
    }

    fn walk(&self, now: Timestamp) -> Result<f64, StoreFault> {
        if !self.has_table("expected")? {
            return self.sweep(now);
        }
        let noted = self.note("walks")?;
        let noted = noted.and_then(|bytes| Some(i64::from_be_bytes(bytes.try_into().ok()?)));
        if let Some(at) = noted
            && now.0 < at
        {
            return Ok((at - now.0) as f64);
        }
        let next = self.sweep(now)?;
        if next >= 0.0 {
            let at = now.0.saturating_add(next as i64);
            self.set_note("walks", &at.to_be_bytes())?;
        }
        Ok(next)
    }

    fn due(&self, now: Timestamp) -> Result<f64, StoreFault> {
        if !self.has_table("expected")? {
            return Ok(-1.0);
        }
        let first = "SELECT at FROM expected WHERE standing = 0 ORDER BY at LIMIT 1";
        let at = self.first(first, &[])?;
        let at = at.and_then(|[at]| at.number());
        Ok(at.map_or(-1.0, |at| at.saturating_sub(now.0).max(0) as f64))
    }

    fn open_expected(&self) -> Result<(), StoreFault> {
        self.run(EXPECTED_SCHEMA, &[])
    }

    fn open_letters(&self) -> Result<(), StoreFault> {
        self.run(LETTERS_SCHEMA, &[])
    }

    /// How many rows a statement changed; an index isn't counted.
    fn changes(&self) -> Result<bool, StoreFault> {
        let count = self.first("SELECT changes()", &[])?;
        let count = count.and_then(|[count]| count.number());
        Ok(count.is_some_and(|count| count > 0))
    }

    #[cfg(feature = "test-hooks")]
    fn fill(
        &self,
        range: std::ops::Range<u32>,
        expires_in_ms: f64,
        now: Timestamp,
    ) -> Result<(), StoreFault> {
        use crate::entity::{ClaimRequest, Entity, EventHash, Receipt, Step};
        let span = std::time::Duration::from_millis(expires_in_ms as u64);
        for n in range {
            let subject = format!("fill/{n}");
            let event = EventHash(EntityKey::of("fill-event", &subject).0);
            let mut entity = Entity::default();
            let request = ClaimRequest {
                event,
                round: None,
                claimant: crate::entity::Claimant::Sender,
                step: Step::default(),
                lease: std::time::Duration::ZERO,
                window: span,
            };
            if let crate::entity::Claim::Granted { fence, .. } = entity.claim(&request, now) {
                let _ = entity.commit(event, fence, Receipt::Delivered, span, now);
            }
            self.save(EntityKey::of("fill", &subject), &entity.save())?;
        }
        Ok(())
    }
}

fn millis(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// A letter from its stored columns.
fn letter_of(
    label: &Value,
    redelivered: &Value,
    redeliveries: &Value,
) -> Result<Letter, StoreFault> {
    let Value::Blob(label) = label else {
        return Err(StoreFault::RowCorrupt);
    };
    let letter = Letter::unpack(label).ok_or(StoreFault::RowCorrupt)?;
    Ok(Letter {
        redelivered_at: redelivered.number().map(Timestamp),
        redeliveries: redeliveries
            .number()
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
        ..letter
    })
}

/// What is expected, from its stored columns: standing, due, kept, notice.
fn expected_of([standing, due, kept, notice]: [Value; 4]) -> Result<Expected, StoreFault> {
    let read = || {
        let standing = Standing::from_u8(u8::try_from(standing.number()?).ok()?)?;
        let kept = u64::try_from(kept.number()?).ok()?;
        let Value::Blob(notice) = notice else {
            return None;
        };
        Some(Expected {
            standing,
            due: Timestamp(due.number()?),
            kept: std::time::Duration::from_millis(kept),
            notice,
        })
    };
    read().ok_or(StoreFault::RowCorrupt)
}

impl Store for Rows<'_> {
    type Error = StoreFault;

    fn load(&self, entity: EntityKey) -> Result<Vec<(u32, Vec<u8>)>, StoreFault> {
        self.paged.set(false);
        let held = HELD.with_borrow_mut(|held| held.get(self.object, entity));
        if let Some(head) = held {
            return Ok(vec![(0, head)]);
        }
        let rows = self.rows(
            "SELECT page, packed FROM rows WHERE entity = ?",
            &[Bound::Blob(&entity.0)],
        )?;
        let pages: Result<Vec<_>, _> = rows
            .into_iter()
            .map(|row| match row {
                [page, Value::Blob(packed)] => {
                    let page = page.number().and_then(|page| u32::try_from(page).ok());
                    Ok((page.ok_or(StoreFault::RowCorrupt)?, packed))
                }
                _ => Err(StoreFault::RowCorrupt),
            })
            .collect();
        let pages = pages?;
        self.paged.set(pages.iter().any(|(number, _)| *number != 0));
        Ok(pages)
    }

    fn save(&self, entity: EntityKey, pages: &[Page]) -> Result<(), StoreFault> {
        HELD.with_borrow_mut(|held| held.forget(self.object, entity));
        for page in pages {
            self.run(
                "INSERT INTO rows (entity, page, expires, packed) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET expires = excluded.expires, packed = excluded.packed",
                &[
                    Bound::Blob(&entity.0),
                    Bound::Number(page.number.into()),
                    Bound::Number(page.expires.0),
                    Bound::Blob(&page.packed),
                ],
            )?;
        }
        // Only what is all of the entity.
        if let [head] = pages
            && head.number == 0
            && !self.paged.get()
        {
            HELD.with_borrow_mut(|held| held.put(self.object, entity, head.packed.clone()));
        }
        Ok(())
    }

    fn layout(&self) -> Result<Option<Vec<u8>>, StoreFault> {
        self.note("layout")
    }

    fn record_layout(&self, packed: &[u8]) -> Result<(), StoreFault> {
        self.set_note("layout", packed)
    }

    fn keep(&self, letter: &Letter, sealed: &[u8]) -> Result<(), StoreFault> {
        self.open_letters()?;
        // What was received after the one that is here was redelivered or deleted is news, and so is a later resend of one that waits; a late message of it isn't.
        self.run(
            "INSERT INTO letters (id, received, source, code, expires, label, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET received = ?2, source = ?3, code = ?4, expires = ?5, label = ?6, sealed = ?7, redelivered = NULL
             WHERE ?2 > COALESCE(redelivered, CASE WHEN label IS NULL THEN expires - ?8 END, received)",
            &[
                Bound::Blob(&letter.id.0),
                Bound::Number(letter.received_at.0),
                Bound::Text(&letter.source),
                Bound::Text(&letter.code),
                Bound::Number(letter.expires_at.0),
                Bound::Blob(&letter.pack()),
                Bound::Blob(sealed),
                Bound::Number(millis(TOMBSTONE)),
            ],
        )
    }

    fn list(&self, filter: &Filter, now: Timestamp) -> Result<Vec<Letter>, StoreFault> {
        self.open_letters()?;
        let (at, id) = filter
            .after
            .unwrap_or((Timestamp(i64::MIN), LetterId::default()));
        // JavaScript's whole numbers end at 2^53.
        let most = (1 << 53) - 1;
        let bounded = |at: Timestamp| Bound::Number(at.0.clamp(-most, most));
        let source = filter.source.as_deref().map_or(Bound::Null, Bound::Text);
        let code = filter.code.as_deref().map_or(Bound::Null, Bound::Text);
        let unwanted = match (filter.waiting, &filter.code) {
            (true, None) => Bound::Text(Reason::WithheldSuperseded.code()),
            _ => Bound::Null,
        };
        let rows = self.rows(
            "SELECT label, redelivered, redeliveries FROM letters
             WHERE expires > ?1 AND label IS NOT NULL AND received >= ?2 AND (received, id) > (?3, ?4)
                 AND (?5 IS NULL OR source = ?5) AND (?6 IS NULL OR code = ?6) AND (?7 = 0 OR redelivered IS NULL) AND (?8 IS NULL OR code <> ?8)
             ORDER BY received, id LIMIT ?9",
            &[
                Bound::Number(now.0),
                bounded(filter.since),
                bounded(at),
                Bound::Blob(&id.0),
                source,
                code,
                Bound::Number(filter.waiting.into()),
                unwanted,
                Bound::Number(filter.limit.into()),
            ],
        )?;
        rows.iter()
            .map(|[label, redelivered, redeliveries]| letter_of(label, redelivered, redeliveries))
            .collect()
    }

    fn letter(
        &self,
        id: LetterId,
        now: Timestamp,
    ) -> Result<Option<(Letter, Vec<u8>)>, StoreFault> {
        self.open_letters()?;
        let row = self.first(
            "SELECT label, redelivered, redeliveries, sealed FROM letters WHERE id = ? AND expires > ? AND label IS NOT NULL",
            &[Bound::Blob(&id.0), Bound::Number(now.0)],
        )?;
        match row {
            None => Ok(None),
            Some([label, redelivered, redeliveries, Value::Blob(sealed)]) => {
                let letter = letter_of(&label, &redelivered, &redeliveries)?;
                Ok(Some((letter, sealed)))
            }
            Some(_) => Err(StoreFault::RowCorrupt),
        }
    }

    fn remove(&self, id: LetterId, now: Timestamp) -> Result<bool, StoreFault> {
        self.open_letters()?;
        self.run(
            "UPDATE letters SET label = NULL, sealed = NULL, source = '', code = '', expires = ?1 + ?2 WHERE id = ?3 AND expires > ?1 AND label IS NOT NULL",
            &[
                Bound::Number(now.0),
                Bound::Number(millis(TOMBSTONE)),
                Bound::Blob(&id.0),
            ],
        )?;
        self.changes()
    }

    fn mark(&self, id: LetterId, before: u32, now: Timestamp) -> Result<bool, StoreFault> {
        self.open_letters()?;
        self.run(
            "UPDATE letters SET redelivered = ?, redeliveries = redeliveries + 1 WHERE id = ? AND redeliveries = ? AND label IS NOT NULL",
            &[
                Bound::Number(now.0),
                Bound::Blob(&id.0),
                Bound::Number(before.into()),
            ],
        )?;
        self.changes()
    }

    fn expected(&self, entity: EntityKey) -> Result<Option<Expected>, StoreFault> {
        if !self.has_table("expected")? {
            return Ok(None);
        }
        let row = self.first(
            "SELECT standing, due, kept, notice FROM expected WHERE entity = ?",
            &[Bound::Blob(&entity.0)],
        )?;
        row.map(expected_of).transpose()
    }

    fn expect(
        &self,
        entity: EntityKey,
        expected: &Expected,
        at: Timestamp,
    ) -> Result<(), StoreFault> {
        self.open_expected()?;
        self.run(
            "INSERT INTO expected (entity, standing, at, due, kept, notice) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET standing = excluded.standing, at = excluded.at",
            &[
                Bound::Blob(&entity.0),
                Bound::Number(i64::from(expected.standing as u8)),
                Bound::Number(at.0),
                Bound::Number(expected.due.0),
                Bound::Number(millis(expected.kept)),
                Bound::Blob(&expected.notice),
            ],
        )
    }

    fn expect_no_longer(&self, entity: EntityKey) -> Result<bool, StoreFault> {
        if !self.has_table("expected")? {
            return Ok(false);
        }
        self.run(
            "DELETE FROM expected WHERE entity = ?",
            &[Bound::Blob(&entity.0)],
        )?;
        self.changes()
    }

    fn overdue(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(EntityKey, Expected)>, StoreFault> {
        if !self.has_table("expected")? {
            return Ok(Vec::new());
        }
        let rows = self.rows(
            "SELECT entity, standing, due, kept, notice FROM expected WHERE standing = 0 AND at <= ? ORDER BY at LIMIT ?",
            &[Bound::Number(now.0), Bound::Number(limit.into())],
        )?;
        // One that can't be read mustn't keep the others waiting. It stays overdue, and the cron says so.
        let read = |[entity, standing, due, kept, notice]: [Value; 5]| match entity {
            Value::Blob(key) => {
                let key = key.as_slice().try_into().ok()?;
                let expected = expected_of([standing, due, kept, notice]).ok()?;
                Some((EntityKey(key), expected))
            }
            _ => None,
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    fn count_overdue(&self, now: Timestamp) -> Result<u64, StoreFault> {
        if !self.has_table("expected")? {
            return Ok(0);
        }
        let count = self.first(
            "SELECT COUNT(*) FROM expected WHERE standing = 0 AND at <= ?",
            &[Bound::Number(now.0)],
        )?;
        let count = count.and_then(|[count]| count.number());
        Ok(count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
    }

    fn count(&self, now: Timestamp) -> Result<Count, StoreFault> {
        self.open_letters()?;
        let row = self.first(
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE code = ?1), COUNT(*) FILTER (WHERE redelivered IS NULL AND code <> ?1),
                 MIN(received) FILTER (WHERE redelivered IS NULL AND code <> ?1)
             FROM letters WHERE expires > ?2 AND label IS NOT NULL",
            &[
                Bound::Text(Reason::WithheldSuperseded.code()),
                Bound::Number(now.0),
            ],
        )?;
        let Some([kept, withheld, waiting, oldest]) = row else {
            return Err(StoreFault::RowCorrupt);
        };
        let whole = |value: Value| {
            value
                .number()
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0)
        };
        Ok(Count {
            kept: whole(kept),
            withheld: whole(withheld),
            waiting: whole(waiting),
            oldest: oldest.number().map(Timestamp),
        })
    }
}
