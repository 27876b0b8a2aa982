//! One call to an object: load, apply, save.

use super::expected::{called_back, serve_expected};
use super::{
    Claim, ClaimRequest, Condition, Entity, EntityKey, Expected, Layout, Page, Reply, Request, Row,
    RowCorrupt, WireCorrupt,
};
use crate::bytes::{Reader, Writer};
use crate::letters::{Count, Filter, Letter, LetterId, LetterReply, LetterRequest};
use crate::time::Timestamp;

/// An object's storage. It owes: calls of [`serve`] one at a time, and that what was saved is durable before anybody sees the reply. Pages may be saved one by one, in
/// the order given: the head comes last, and until it is there an entry that stands in two places counts once.
pub trait Store {
    /// Why a storage operation failed.
    type Error: From<WireCorrupt> + From<RowCorrupt>;

    /// All pages of an entity.
    fn load(&self, entity: EntityKey) -> Result<Vec<(u32, Vec<u8>)>, Self::Error>;

    /// Puts pages in place of those of the same number.
    fn save(&self, entity: EntityKey, pages: &[Page]) -> Result<(), Self::Error>;

    /// What `record` stored.
    fn layout(&self) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Records the layout.
    fn record_layout(&self, packed: &[u8]) -> Result<(), Self::Error>;

    /// Keeps a letter. One of its id that is there stays, unless the new one was received after that one was (or was redelivered, or deleted): then it takes its place, waiting.
    fn keep(&self, letter: &Letter, sealed: &[u8]) -> Result<(), Self::Error>;

    /// Letters that haven't expired at `now`, by the time of their receipt and their id.
    fn list(&self, filter: &Filter, now: Timestamp) -> Result<Vec<Letter>, Self::Error>;

    /// A letter that hasn't expired at `now`, and its content.
    fn letter(
        &self,
        id: LetterId,
        now: Timestamp,
    ) -> Result<Option<(Letter, Vec<u8>)>, Self::Error>;

    /// Deletes a letter, and says whether it was there. A message of it that comes later doesn't bring it back.
    fn remove(&self, id: LetterId, now: Timestamp) -> Result<bool, Self::Error>;

    /// Remembers that a letter was redelivered at `now`, unless that was said of this time already; and says whether it was there.
    fn mark(&self, id: LetterId, redeliveries: u32, now: Timestamp) -> Result<bool, Self::Error>;

    /// How many letters there are that haven't expired at `now`.
    fn count(&self, now: Timestamp) -> Result<Count, Self::Error>;

    /// What is expected of an entity.
    fn expected(&self, entity: EntityKey) -> Result<Option<Expected>, Self::Error>;

    /// Puts what is expected of an entity in place of what was. At `at` there is something to do about it.
    fn expect(
        &self,
        entity: EntityKey,
        expected: &Expected,
        at: Timestamp,
    ) -> Result<(), Self::Error>;

    /// Expects it no longer, and says whether it did.
    fn expect_no_longer(&self, entity: EntityKey) -> Result<bool, Self::Error>;

    /// What is pending and due at `now`, the oldest first, so many at most. It costs what it gives, however many are pending.
    fn overdue(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(EntityKey, Expected)>, Self::Error>;

    /// How many are pending and due at `now`.
    fn count_overdue(&self, now: Timestamp) -> Result<u64, Self::Error>;
}

/// Answers one message.
pub fn serve<S: Store>(store: &S, message: &[u8], now: Timestamp) -> Result<Reply, S::Error> {
    Ok(match Request::unpack(message)? {
        Request::Layout(request) => {
            let packed = store.layout()?;
            let recorded = packed
                .as_deref()
                .map(|bytes| Layout::unpack(bytes).ok_or(RowCorrupt))
                .transpose()?;
            Reply::Layout(match Layout::agree(recorded, &request, now) {
                Err(refused) => Err(refused),
                Ok(agreed) => {
                    if recorded != Some(agreed) {
                        store.record_layout(&agreed.pack())?;
                    }
                    Ok(agreed.agreed(now))
                }
            })
        }
        Request::Claim {
            entity: key,
            claim: request,
            moved,
        } => claim(store, key, &request, moved, None, now)?,
        Request::ClaimIf(condition, inner) => match *inner {
            Request::Claim {
                entity: key,
                claim: request,
                moved,
            } => claim(store, key, &request, moved, Some(condition), now)?,
            _ => return Err(WireCorrupt.into()),
        },
        Request::Expect(request) => Reply::Expect(serve_expected(store, request, now)?),
        Request::Commit {
            entity: key,
            event,
            fence,
            receipt,
            window,
        } => {
            let mut entity = load(store, key)?;
            let settled = entity.commit(event, fence, receipt, window, now);
            if settled == Ok(true) {
                store.save(key, &entity.save())?;
            }
            Reply::Settled(settled.map(|_| ()))
        }
        Request::Release {
            entity: key,
            event,
            fence,
        } => {
            let mut entity = load(store, key)?;
            let settled = entity.release(event, fence, now);
            if settled.is_ok() {
                store.save(key, &entity.save())?;
            }
            Reply::Settled(settled)
        }
        Request::Move {
            entity: key,
            window,
        } => {
            let pages = store.load(key)?;
            let mut entity = Entity::load(rows(&pages))?;
            if entity.move_away(window, now) {
                store.save(key, &entity.save())?;
            }
            match entity.leased(now) {
                Some(until) => Reply::Busy(now.until(until)),
                None => Reply::Moved(pack_pages(&pages)),
            }
        }
        Request::Letters(request) => Reply::Letters(match request {
            LetterRequest::Keep { letter, sealed } => {
                store.keep(&letter, &sealed)?;
                LetterReply::Kept
            }
            LetterRequest::List(filter) => LetterReply::Listed(store.list(&filter, now)?),
            LetterRequest::Read(id) => LetterReply::Read(store.letter(id, now)?),
            LetterRequest::Remove(id) => LetterReply::Done(store.remove(id, now)?),
            LetterRequest::Mark(id, before) => LetterReply::Done(store.mark(id, before, now)?),
            LetterRequest::Count => LetterReply::Count(store.count(now)?),
        }),
    })
}

fn claim<S: Store>(
    store: &S,
    key: EntityKey,
    request: &ClaimRequest,
    moved: Option<Vec<u8>>,
    condition: Option<Condition>,
    now: Timestamp,
) -> Result<Reply, S::Error> {
    let mut entity = load(store, key)?;
    if let Some(pages) = moved {
        entity.merge(&unpack_pages(&pages)?, now);
    }
    let claim = entity.claim(request, now);
    if let Claim::Granted { .. } = claim {
        let holds = match condition {
            None => true,
            Some(Condition::Expected) => store.expected(key)?.is_some(),
            // Taking in the notice doesn't change what it asks.
            Some(Condition::StillMissing) => !called_back(&entity),
        };
        if !holds {
            return Ok(Reply::Unmet);
        }
        store.save(key, &entity.save())?;
    }
    Ok(Reply::Claim(claim))
}

pub(super) fn load<S: Store>(store: &S, key: EntityKey) -> Result<Entity, S::Error> {
    Ok(Entity::load(rows(&store.load(key)?))?)
}

fn rows(pages: &[(u32, Vec<u8>)]) -> impl Iterator<Item = Row<'_>> {
    pages.iter().map(|(number, packed)| Row {
        number: *number,
        packed,
    })
}

fn pack_pages(pages: &[(u32, Vec<u8>)]) -> Vec<u8> {
    pages
        .iter()
        .fold(Writer::default(), |writer, (number, packed)| {
            writer.u32(*number).block(packed)
        })
        .done()
}

fn unpack_pages(packed: &[u8]) -> Result<Entity, RowCorrupt> {
    let mut reader = Reader::new(packed);
    let mut pages = Vec::new();
    while reader.end().is_none() {
        let number = reader.u32().ok_or(RowCorrupt)?;
        let packed = reader.block().ok_or(RowCorrupt)?;
        pages.push(Row { number, packed });
    }
    Entity::load(pages)
}
