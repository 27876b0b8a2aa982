//! The Durable Object: SQLite under [`serve`]. Its calls are synchronous, so that a trap reaches the caller as an exception.

use std::cell::Cell;

use wasm_bindgen::prelude::{JsError, wasm_bindgen};
use worker::{Date, DurableObject, Env, Request, Response, SqlStorage, SqlStorageValue, State};

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

/// Holds the rows of the entities of one shard.
#[worker::durable_object(fetch)]
pub struct EntityObject {
    sql: SqlStorage,
}

impl DurableObject for EntityObject {
    fn new(state: State, _env: Env) -> Self {
        // The `worker` crate's hook prints a panic's message, which may hold anything. The trap that follows is logged by `entry.mjs`.
        std::panic::set_hook(Box::new(|_| {}));
        Self {
            sql: state.storage().sql(),
        }
    }

    /// Nothing is served here: `entry.mjs` calls `serve`.
    async fn fetch(&self, _request: Request) -> worker::Result<Response> {
        Response::error("", 404)
    }
}

#[wasm_bindgen]
impl EntityObject {
    /// Makes the tables. Called once for each instance.
    pub fn open(&self) -> Result<(), JsError> {
        Rows::new(&self.sql).run(SCHEMA, vec![])?;
        Ok(())
    }

    /// Answers one message.
    pub fn serve(&self, message: &[u8]) -> Result<Vec<u8>, JsError> {
        #[cfg(feature = "test-hooks")]
        super::hooks::trap(message);
        let rows = Rows::new(&self.sql);
        let reply = serve(&rows, message, now())?;
        Ok(reply.pack(rows.cost.get()))
    }

    /// One step of the walk. Answers how many milliseconds until the next one; negative: there is nothing left to walk.
    pub fn sweep(&self) -> Result<f64, JsError> {
        Ok(Rows::new(&self.sql).sweep(now())?)
    }

    /// The walk's next step, unless it rests; as [`sweep`](Self::sweep). An object that is woken for other things as well notes until when.
    pub fn walk(&self) -> Result<f64, JsError> {
        Ok(Rows::new(&self.sql).walk(now())?)
    }

    /// How many were met (4 bytes), and the notices to send now: of each its key (16 bytes), its length (4 bytes) and the message.
    pub fn overdue(&self) -> Result<Vec<u8>, JsError> {
        Ok(overdue(&Rows::new(&self.sql), now())?.pack())
    }

    /// These notices, as [`overdue`](Self::overdue) told them, are in our queue.
    pub fn notified(&self, notices: &[u8]) -> Result<(), JsError> {
        let notices = Notices::unpack(notices).map_err(StoreFault::from)?;
        Ok(notified(&Rows::new(&self.sql), &notices, now())?)
    }

    /// How many milliseconds until the next notice is due; 0 if one is; negative: nothing is expected.
    pub fn due(&self) -> Result<f64, JsError> {
        Ok(Rows::new(&self.sql).due(now())?)
    }

    /// Fills the object with entities of one event each. Only the test build has it.
    #[cfg(feature = "test-hooks")]
    pub fn fill(&self, from: u32, to: u32, expires_in_ms: f64) -> Result<(), JsError> {
        Ok(Rows::new(&self.sql).fill(from..to, expires_in_ms, now())?)
    }
}

fn now() -> Timestamp {
    Timestamp(i64::try_from(Date::now().as_millis()).unwrap_or(i64::MAX))
}

/// Why a call failed. Names what, never which.
#[derive(Clone, Copy, Debug)]
enum StoreFault {
    Sql,
    RowCorrupt,
    WireCorrupt,
}

impl From<worker::Error> for StoreFault {
    fn from(_: worker::Error) -> Self {
        Self::Sql
    }
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

impl std::error::Error for StoreFault {}

impl std::fmt::Display for StoreFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sql => "store_sql_failed",
            Self::RowCorrupt => "store_row_corrupt",
            Self::WireCorrupt => "store_message_corrupt",
        })
    }
}

/// The rows, and what reading and writing them cost so far.
struct Rows<'a> {
    sql: &'a SqlStorage,
    cost: Cell<Cost>,
}

impl<'a> Rows<'a> {
    fn new(sql: &'a SqlStorage) -> Self {
        Self {
            sql,
            cost: Cell::default(),
        }
    }

    fn run(
        &self,
        statement: &str,
        bindings: Vec<SqlStorageValue>,
    ) -> Result<Vec<Vec<SqlStorageValue>>, StoreFault> {
        let cursor = self.sql.exec(statement, bindings)?;
        let rows = cursor.raw().collect::<Result<Vec<_>, _>>()?;
        let mut cost = self.cost.get();
        cost.read += u32::try_from(cursor.rows_read()).unwrap_or(0);
        cost.written += u32::try_from(cursor.rows_written()).unwrap_or(0);
        self.cost.set(cost);
        Ok(rows)
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        let rows = self.run("SELECT value FROM notes WHERE name = ?", vec![name.into()])?;
        match rows.into_iter().next().as_deref() {
            None => Ok(None),
            Some([SqlStorageValue::Blob(value)]) => Ok(Some(value.clone())),
            Some(_) => Err(StoreFault::RowCorrupt),
        }
    }

    fn set_note(&self, name: &str, value: Vec<u8>) -> Result<(), StoreFault> {
        self.run(
            "INSERT OR REPLACE INTO notes VALUES (?, ?)",
            vec![name.into(), value.into()],
        )
        .map(drop)
    }

    /// Deletes what has expired among the next rows by primary key; where the walk stands is noted.
    fn sweep(&self, now: Timestamp) -> Result<f64, StoreFault> {
        let from = self.note("swept")?.unwrap_or_default();
        let limit = SqlStorageValue::Integer(SWEEP_ROWS - 1);
        let end = self.run(
            "SELECT entity FROM rows WHERE entity > ? ORDER BY entity LIMIT 1 OFFSET ?",
            vec![from.clone().into(), limit],
        )?;
        let at = now.0;
        let now = SqlStorageValue::Integer(at);
        if let Some([SqlStorageValue::Blob(end)]) = end.first().map(Vec::as_slice) {
            self.run(
                "DELETE FROM rows WHERE entity > ? AND entity <= ? AND expires <= ?",
                vec![from.into(), end.clone().into(), now],
            )?;
            self.set_note("swept", end.clone())?;
            return Ok(SWEEP_STEP_MS);
        }
        self.run(
            "DELETE FROM rows WHERE entity > ? AND expires <= ?",
            vec![from.into(), now],
        )?;
        self.set_note("swept", Vec::new())?;
        let mut rest = self.run("SELECT 1 FROM rows LIMIT 1", vec![])?;
        if self.has_table("expected")? {
            let forgotten = "DELETE FROM expected WHERE standing IN (1, 2) AND at <= ?";
            self.run(forgotten, vec![SqlStorageValue::Integer(at)])?;
            rest.extend(self.run("SELECT 1 FROM expected LIMIT 1", vec![])?);
        }
        if self.has_table("letters")? {
            let expired = "DELETE FROM letters WHERE expires <= ?";
            self.run(expired, vec![SqlStorageValue::Integer(at)])?;
            rest.extend(self.run("SELECT 1 FROM letters LIMIT 1", vec![])?);
        }
        Ok(if rest.is_empty() { -1.0 } else { SWEEP_REST_MS })
    }

    fn has_table(&self, name: &str) -> Result<bool, StoreFault> {
        let known = "SELECT 1 FROM sqlite_master WHERE name = ?";
        Ok(!self.run(known, vec![name.into()])?.is_empty())
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
            self.set_note("walks", at.to_be_bytes().to_vec())?;
        }
        Ok(next)
    }

    fn due(&self, now: Timestamp) -> Result<f64, StoreFault> {
        if !self.has_table("expected")? {
            return Ok(-1.0);
        }
        let first = "SELECT at FROM expected WHERE standing = 0 ORDER BY at LIMIT 1";
        let rows = self.run(first, vec![])?;
        let at = rows.first().and_then(|row| row.first()).and_then(number);
        Ok(at.map_or(-1.0, |at| at.saturating_sub(now.0).max(0) as f64))
    }

    fn open_expected(&self) -> Result<(), StoreFault> {
        self.run(EXPECTED_SCHEMA, vec![]).map(drop)
    }

    fn open_letters(&self) -> Result<(), StoreFault> {
        self.run(LETTERS_SCHEMA, vec![]).map(drop)
    }

    /// How many rows a statement changed; an index isn't counted.
    fn changes(&self) -> Result<bool, StoreFault> {
        let rows = self.run("SELECT changes()", vec![])?;
        let count = rows.first().and_then(|row| row.first()).and_then(number);
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

/// A whole number. It comes as a float from JavaScript.
fn number(value: &SqlStorageValue) -> Option<i64> {
    match value {
        SqlStorageValue::Integer(number) => Some(*number),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole numbers below 2^53 were written"
        )]
        SqlStorageValue::Float(number) => Some(*number as i64),
        _ => None,
    }
}

/// A letter from its stored columns: label, redelivered, redeliveries.
fn letter_of(columns: &[SqlStorageValue]) -> Result<Letter, StoreFault> {
    let [SqlStorageValue::Blob(label), redelivered, redeliveries, ..] = columns else {
        return Err(StoreFault::RowCorrupt);
    };
    let letter = Letter::unpack(label).ok_or(StoreFault::RowCorrupt)?;
    Ok(Letter {
        redelivered_at: number(redelivered).map(Timestamp),
        redeliveries: number(redeliveries)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
        ..letter
    })
}

/// What is expected, from its stored columns: standing, due, kept, notice.
fn expected_of(columns: &[SqlStorageValue]) -> Result<Expected, StoreFault> {
    let [standing, due, kept, SqlStorageValue::Blob(notice), ..] = columns else {
        return Err(StoreFault::RowCorrupt);
    };
    let read = || {
        let standing = Standing::from_u8(u8::try_from(number(standing)?).ok()?)?;
        let kept = u64::try_from(number(kept)?).ok()?;
        Some(Expected {
            standing,
            due: Timestamp(number(due)?),
            kept: std::time::Duration::from_millis(kept),
            notice: notice.clone(),
        })
    };
    read().ok_or(StoreFault::RowCorrupt)
}

impl Store for Rows<'_> {
    type Error = StoreFault;

    fn load(&self, entity: EntityKey) -> Result<Vec<(u32, Vec<u8>)>, StoreFault> {
        let key = entity.0.to_vec();
        self.run(
            "SELECT page, packed FROM rows WHERE entity = ?",
            vec![key.into()],
        )?
        .into_iter()
        .map(|row| match <[SqlStorageValue; 2]>::try_from(row) {
            Ok([page, SqlStorageValue::Blob(packed)]) => {
                let page = number(&page).and_then(|page| u32::try_from(page).ok());
                Ok((page.ok_or(StoreFault::RowCorrupt)?, packed))
            }
            _ => Err(StoreFault::RowCorrupt),
        })
        .collect()
    }

    fn save(&self, entity: EntityKey, pages: &[Page]) -> Result<(), StoreFault> {
        for page in pages {
            self.run(
                "INSERT INTO rows (entity, page, expires, packed) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET expires = excluded.expires, packed = excluded.packed",
                vec![
                    entity.0.to_vec().into(),
                    SqlStorageValue::Integer(page.number.into()),
                    SqlStorageValue::Integer(page.expires.0),
                    page.packed.clone().into(),
                ],
            )?;
        }
        Ok(())
    }

    fn layout(&self) -> Result<Option<Vec<u8>>, StoreFault> {
        self.note("layout")
    }

    fn record_layout(&self, packed: &[u8]) -> Result<(), StoreFault> {
        self.set_note("layout", packed.to_vec())
    }

    fn keep(&self, letter: &Letter, sealed: &[u8]) -> Result<(), StoreFault> {
        self.open_letters()?;
        // What was received after the one that is here was redelivered or deleted is news, and so is a later resend of one that waits; a late message of it isn't.
        self.run(
            "INSERT INTO letters (id, received, source, code, expires, label, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET received = ?2, source = ?3, code = ?4, expires = ?5, label = ?6, sealed = ?7, redelivered = NULL
             WHERE ?2 > COALESCE(redelivered, CASE WHEN label IS NULL THEN expires - ?8 END, received)",
            vec![
                letter.id.0.to_vec().into(),
                SqlStorageValue::Integer(letter.received_at.0),
                letter.source.as_str().into(),
                letter.code.as_str().into(),
                SqlStorageValue::Integer(letter.expires_at.0),
                letter.pack().into(),
                sealed.to_vec().into(),
                SqlStorageValue::Integer(millis(TOMBSTONE)),
            ],
        )
        .map(drop)
    }

    fn list(&self, filter: &Filter, now: Timestamp) -> Result<Vec<Letter>, StoreFault> {
        self.open_letters()?;
        let mut statement = "SELECT label, redelivered, redeliveries FROM letters
            WHERE expires > ? AND label IS NOT NULL AND received >= ? AND (received, id) > (?, ?)"
            .to_owned();
        let (at, id) = filter
            .after
            .unwrap_or((Timestamp(i64::MIN), LetterId::default()));
        // JavaScript's whole numbers end at 2^53.
        let most = (1 << 53) - 1;
        let bounded = |at: Timestamp| SqlStorageValue::Integer(at.0.clamp(-most, most));
        let mut bindings = vec![
            SqlStorageValue::Integer(now.0),
            bounded(filter.since),
            bounded(at),
            id.0.to_vec().into(),
        ];
        for (column, value) in [("source", &filter.source), ("code", &filter.code)] {
            if let Some(value) = value {
                statement.push_str(&format!(" AND {column} = ?"));
                bindings.push(value.as_str().into());
            }
        }
        if filter.waiting {
            statement.push_str(" AND redelivered IS NULL");
            if filter.code.is_none() {
                statement.push_str(" AND code <> ?");
                bindings.push(Reason::WithheldSuperseded.code().into());
            }
        }
        statement.push_str(" ORDER BY received, id LIMIT ?");
        bindings.push(SqlStorageValue::Integer(filter.limit.into()));
        let rows = self.run(&statement, bindings)?;
        rows.iter().map(|row| letter_of(row)).collect()
    }

    fn letter(
        &self,
        id: LetterId,
        now: Timestamp,
    ) -> Result<Option<(Letter, Vec<u8>)>, StoreFault> {
        self.open_letters()?;
        let rows = self.run(
            "SELECT label, redelivered, redeliveries, sealed FROM letters WHERE id = ? AND expires > ? AND label IS NOT NULL",
            vec![id.0.to_vec().into(), SqlStorageValue::Integer(now.0)],
        )?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        match row.last() {
            Some(SqlStorageValue::Blob(sealed)) => Ok(Some((letter_of(row)?, sealed.clone()))),
            _ => Err(StoreFault::RowCorrupt),
        }
    }

    fn remove(&self, id: LetterId, now: Timestamp) -> Result<bool, StoreFault> {
        self.open_letters()?;
        self.run(
            "UPDATE letters SET label = NULL, sealed = NULL, source = '', code = '', expires = ?1 + ?2 WHERE id = ?3 AND expires > ?1 AND label IS NOT NULL",
            vec![
                SqlStorageValue::Integer(now.0),
                SqlStorageValue::Integer(millis(TOMBSTONE)),
                id.0.to_vec().into(),
            ],
        )?;
        self.changes()
    }

    fn mark(&self, id: LetterId, before: u32, now: Timestamp) -> Result<bool, StoreFault> {
        self.open_letters()?;
        self.run(
            "UPDATE letters SET redelivered = ?, redeliveries = redeliveries + 1 WHERE id = ? AND redeliveries = ? AND label IS NOT NULL",
            vec![
                SqlStorageValue::Integer(now.0),
                id.0.to_vec().into(),
                SqlStorageValue::Integer(before.into()),
            ],
        )?;
        self.changes()
    }

    fn expected(&self, entity: EntityKey) -> Result<Option<Expected>, StoreFault> {
        if !self.has_table("expected")? {
            return Ok(None);
        }
        let rows = self.run(
            "SELECT standing, due, kept, notice FROM expected WHERE entity = ?",
            vec![entity.0.to_vec().into()],
        )?;
        rows.first().map(|row| expected_of(row)).transpose()
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
            vec![
                entity.0.to_vec().into(),
                SqlStorageValue::Integer(i64::from(expected.standing as u8)),
                SqlStorageValue::Integer(at.0),
                SqlStorageValue::Integer(expected.due.0),
                SqlStorageValue::Integer(millis(expected.kept)),
                expected.notice.clone().into(),
            ],
        )
        .map(drop)
    }

    fn expect_no_longer(&self, entity: EntityKey) -> Result<bool, StoreFault> {
        if !self.has_table("expected")? {
            return Ok(false);
        }
        self.run(
            "DELETE FROM expected WHERE entity = ?",
            vec![entity.0.to_vec().into()],
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
        let rows = self.run(
            "SELECT standing, due, kept, notice, entity FROM expected WHERE standing = 0 AND at <= ? ORDER BY at LIMIT ?",
            vec![
                SqlStorageValue::Integer(now.0),
                SqlStorageValue::Integer(limit.into()),
            ],
        )?;
        // One that can't be read mustn't keep the others waiting. It stays overdue, and the cron says so.
        let read = |row: &Vec<SqlStorageValue>| match row.last() {
            Some(SqlStorageValue::Blob(key)) => {
                let key = key.as_slice().try_into().ok()?;
                Some((EntityKey(key), expected_of(row).ok()?))
            }
            _ => None,
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    fn count_overdue(&self, now: Timestamp) -> Result<u64, StoreFault> {
        if !self.has_table("expected")? {
            return Ok(0);
        }
        let rows = self.run(
            "SELECT COUNT(*) FROM expected WHERE standing = 0 AND at <= ?",
            vec![SqlStorageValue::Integer(now.0)],
        )?;
        let count = rows.first().and_then(|row| row.first()).and_then(number);
        Ok(count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
    }

    fn count(&self, now: Timestamp) -> Result<Count, StoreFault> {
        self.open_letters()?;
        let rows = self.run(
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE code = ?1), COUNT(*) FILTER (WHERE redelivered IS NULL AND code <> ?1),
                 MIN(received) FILTER (WHERE redelivered IS NULL AND code <> ?1)
             FROM letters WHERE expires > ?2 AND label IS NOT NULL",
            vec![
                Reason::WithheldSuperseded.code().into(),
                SqlStorageValue::Integer(now.0),
            ],
        )?;
        let Some([kept, withheld, waiting, oldest]) = rows.first().map(Vec::as_slice) else {
            return Err(StoreFault::RowCorrupt);
        };
        let whole = |value| {
            number(value)
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0)
        };
        Ok(Count {
            kept: whole(kept),
            withheld: whole(withheld),
            waiting: whole(waiting),
            oldest: number(oldest).map(Timestamp),
        })
    }
}
