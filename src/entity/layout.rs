//! How many objects share the entities. Recorded once, so that a changed setting can't silently forget what has been seen.

use std::time::Duration;

use super::EntityKey;
use crate::bytes::{Reader, Writer};
use crate::time::Timestamp;

/// After a change, a Worker of the version before may still run for so long.
const LINGERING: Duration = Duration::from_secs(24 * 3600);

/// A set of objects that share the entities. No set is used again, not even after a change back to the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objects {
    /// Which set it is, counted from 1.
    pub generation: u32,
    /// How many objects there are.
    pub shards: u32,
}

impl Objects {
    /// The name of the object that holds `entity`: a version, the set, the number of objects, the place. No id, no hash of one.
    pub fn name(&self, entity: EntityKey) -> String {
        self.at(entity.shard(self.shards))
    }

    /// The name of the object at this place of the set.
    pub(crate) fn at(&self, place: u32) -> String {
        let Self { generation, shards } = self;
        format!("entity-v1-{generation}-{shards}-{place}")
    }
}

/// What an isolate asks before its first claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutRequest {
    /// The configured number of objects.
    pub shards: u32,
    /// The number before, to say that a change is meant.
    pub previous: Option<u32>,
    /// The longest window of any source: for so long the objects before a change are asked as well.
    pub window: Duration,
}

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    objects: Objects,
    previous: Option<Objects>,
    /// When what the previous objects remember has expired, even if a Worker of the version before has gone on for a while.
    until: Timestamp,
}

/// Which objects to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// They take the claims.
    pub objects: Objects,
    /// They hand their entities over first.
    pub previous: Option<Objects>,
}

/// The setting contradicts what is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutRefused {
    /// The number that `previous_shards` has to name (or that `shards` has to go back to).
    pub recorded: u32,
    /// A change is under way, and the next one has to wait so long.
    pub wait: Duration,
}

impl Layout {
    /// What to record for `request`, given what `recorded` says; or that the setting is refused.
    pub fn agree(
        recorded: Option<Self>,
        request: &LayoutRequest,
        now: Timestamp,
    ) -> Result<Self, LayoutRefused> {
        let Some(old) = recorded else {
            return Ok(Self {
                objects: Objects {
                    generation: 1,
                    shards: request.shards,
                },
                previous: None,
                until: now,
            });
        };
        if old.objects.shards == request.shards {
            return Ok(old);
        }
        let wait = now.until(old.until);
        if request.previous != Some(old.objects.shards) || !wait.is_zero() {
            return Err(LayoutRefused {
                recorded: old.objects.shards,
                wait,
            });
        }
        Ok(Self {
            objects: Objects {
                generation: old.objects.generation.saturating_add(1),
                shards: request.shards,
            },
            previous: Some(old.objects),
            until: now.after(LINGERING).after(request.window),
        })
    }

    /// Which objects to use at `now`.
    pub fn agreed(&self, now: Timestamp) -> Agreed {
        Agreed {
            objects: self.objects,
            previous: self.previous.filter(|_| now < self.until),
        }
    }

    /// The recorded form.
    pub fn pack(&self) -> Vec<u8> {
        let writer = write_objects(Writer::with_capacity(25).u8(1), Some(self.objects));
        write_objects(writer, self.previous)
            .i64(self.until.0)
            .done()
    }

    /// Reads the recorded form.
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != 1 {
            return None;
        }
        let layout = Self {
            objects: read_objects(&mut reader)??,
            previous: read_objects(&mut reader)?,
            until: Timestamp(reader.i64()?),
        };
        reader.end().map(|()| layout)
    }
}

pub(super) fn write_objects(writer: Writer, objects: Option<Objects>) -> Writer {
    let Objects { generation, shards } = objects.unwrap_or(Objects {
        generation: 0,
        shards: 0,
    });
    writer.u32(generation).u32(shards)
}

/// `None`: nothing left to read; `Some(None)`: no objects.
pub(super) fn read_objects(reader: &mut Reader<'_>) -> Option<Option<Objects>> {
    let (generation, shards) = (reader.u32()?, reader.u32()?);
    Some((generation > 0).then_some(Objects { generation, shards }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn ask(shards: u32, previous: Option<u32>) -> LayoutRequest {
        LayoutRequest {
            shards,
            previous,
            window: WEEK,
        }
    }

    fn refused(recorded: u32, wait: Duration) -> Result<Layout, LayoutRefused> {
        Err(LayoutRefused { recorded, wait })
    }

    #[test]
    fn another_number_of_shards_needs_the_recorded_one_as_previous() {
        let now = Timestamp(1_000_000);
        let first = Layout::agree(None, &ask(4, None), now).unwrap();
        assert_eq!(Layout::unpack(&first.pack()), Some(first));
        assert_eq!(Layout::agree(Some(first), &ask(4, None), now), Ok(first));
        for previous in [None, Some(2), Some(8)] {
            let answer = Layout::agree(Some(first), &ask(8, previous), now);
            assert_eq!(answer, refused(4, Duration::ZERO));
        }
        let changed = Layout::agree(Some(first), &ask(8, Some(4)), now).unwrap();
        assert_eq!(Layout::unpack(&changed.pack()), Some(changed));
        assert_eq!(changed.agreed(now).previous, Some(first.objects));
        let kept = LINGERING + WEEK;
        let end = now.after(kept);
        assert_eq!(
            changed.agreed(Timestamp(end.0 - 1)).previous,
            Some(first.objects)
        );
        assert_eq!(changed.agreed(end).previous, None);
        // A Worker of the old version that still starts is refused.
        let answer = Layout::agree(Some(changed), &ask(4, None), now);
        assert_eq!(answer, refused(8, kept));
    }

    #[test]
    fn the_next_change_waits_for_the_last_one_and_gets_objects_of_its_own() {
        let now = Timestamp(1_000_000);
        let first = Layout::agree(None, &ask(4, None), now).unwrap();
        let changed = Layout::agree(Some(first), &ask(8, Some(4)), now).unwrap();
        let answer = Layout::agree(Some(changed), &ask(4, Some(8)), now);
        assert_eq!(answer, refused(8, LINGERING + WEEK));
        let later = now.after(LINGERING + WEEK);
        let back = Layout::agree(Some(changed), &ask(4, Some(8)), later).unwrap();
        let key = EntityKey::of("osigu", "authorization/a");
        assert_ne!(first.objects.name(key), back.objects.name(key));
        assert_eq!(back.agreed(later).previous, Some(changed.objects));
    }
}
