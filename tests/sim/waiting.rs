//! Callbacks that somebody waits for: who announces them and thinks better of it, the objects' alarms, the cron; and that none ends in silence.

use std::collections::BTreeMap;
use std::time::Duration;

use rxgate::delivery::webhook_id;
use rxgate::entity::{CALLBACK_MISSING, EntityKey, Life, Notices, Standing, notified, overdue};
use rxgate::event::State;
use rxgate::letters::Letter;
use rxgate::time::{Timestamp, to_text};
use serde_json::Value;

use crate::driver::{self, End, Fault, parcel_of};
use crate::ledger::{About, Known};
use crate::scene::{callback, notice_digest};
use crate::sim::{Sim, What, notice_message};

/// PHIL waits for so long.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);
/// An alarm that failed comes again.
const AGAIN: Duration = Duration::from_secs(60);
const CRON_MS: i64 = 15 * 60_000;

/// The number of the notice in the life of a transfer.
pub(crate) fn missing() -> u8 {
    Life::Transfer.number(CALLBACK_MISSING).unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Register,
    Read,
    Remove,
}

/// A call about a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    wish: Wish,
    /// Which of the plan it is.
    place: usize,
    /// Whether a callback was known to be handed over before, and whether it was known to be expected.
    was_met: bool,
    was_known: bool,
}

/// What is known of one transfer by who waits for its callback.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) id: String,
    pub(crate) entity: EntityKey,
    /// What is asked, and when; and which of it is next.
    plan: Vec<(Timestamp, Wish)>,
    place: usize,
    next: Option<Timestamp>,
    under_way: usize,
    /// Two calls were under way at once: then nobody can tell which counts.
    is_muddled: bool,
    /// What was announced, with the digest of the notice.
    announced: Vec<(Timestamp, [u8; 32])>,
    /// By when a callback is due, as it was told, and since when that is known.
    registered: Option<String>,
    since: Timestamp,
    /// It is known to be expected no longer.
    is_deleted: bool,
    /// So many notices were sent.
    sent: usize,
}

impl Transfer {
    /// The notices that there may be.
    pub(crate) fn notices(&self) -> impl Iterator<Item = (Timestamp, [u8; 32])> {
        self.announced.iter().copied()
    }

    /// What a notice is claimed as.
    pub(crate) fn known(&self, n: usize, due: Timestamp, digest: &[u8; 32]) -> Known {
        Known {
            about: About::Notice(n, due),
            webhook_id: webhook_id(digest),
            node: missing(),
            state: State::Failed as u8,
            words: usize::MAX,
        }
    }
}

/// What objects wake up for.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    at: BTreeMap<String, Timestamp>,
    ringing: Vec<Ringing>,
    cron: Option<Timestamp>,
}

impl Alarms {
    /// Whether none of this object is under way.
    fn is_free(&self, object: &str) -> bool {
        self.ringing.iter().all(|one| one.object != object)
    }
}

/// An alarm under way.
#[derive(Debug)]
struct Ringing {
    object: String,
    page: Notices,
    is_sent: bool,
    /// When it goes on.
    at: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) enum Ring {
    Begins(String),
    GoesOn(usize),
    Cron,
}

impl Sim {
    /// Who waits for what, and when the pharmacy calls.
    pub(crate) fn announce(&mut self) {
        let hours = |n: u64| n * 3_600_000;
        for n in 0..=self.rng.below(2) {
            let id = format!("req-{n}");
            let first = driver::START.after(self.rng.millis(hours(1)));
            let due = first.after(PATIENCE);
            let around = |sim: &mut Self| {
                let near = Timestamp(due.0 - 5_000).after(sim.rng.millis(10_000));
                let times = [
                    driver::START.after(sim.rng.millis(hours(1))),
                    first.after(sim.rng.millis(hours(5))),
                    near,
                    due.after(sim.rng.millis(600_000)),
                ];
                sim.rng.pick(&times)
            };
            let mut plan = vec![(first, Wish::Register)];
            for (wish, often) in [(Wish::Read, 2), (Wish::Read, 2), (Wish::Register, 3)] {
                if self.rng.once_in(often) {
                    plan.push((around(self).max(first), wish));
                }
            }
            if self.rng.once_in(2) {
                // Now and then just when the notice of what was announced is under way.
                let (at, soon) = if self.rng.once_in(3) {
                    (due.after(self.rng.millis(50)), 50)
                } else {
                    (around(self).max(first), hours(1))
                };
                plan.push((at, Wish::Remove));
                if self.rng.once_in(2) {
                    plan.push((at.after(self.rng.millis(soon)), Wish::Register));
                }
            }
            plan.sort_by_key(|(at, _)| *at);
            for (kind, often) in [("RECEIVED", 2), ("CONFIRMED", 2), ("ERROR", 3)] {
                if self.rng.once_in(often) {
                    let at = around(self);
                    let mut event = callback(self.scene, &id, kind, at);
                    event.words = self.events.len();
                    self.events.push(event);
                }
            }
            self.transfers.push(Transfer {
                entity: EntityKey::of("phil", &format!("transfer/{id}")),
                id,
                next: plan.first().map(|(at, _)| *at),
                plan,
                place: 0,
                under_way: 0,
                is_muddled: false,
                announced: Vec::new(),
                registered: None,
                since: driver::START,
                is_deleted: false,
                sent: 0,
            });
        }
    }

    // ── who waits ──

    pub(crate) fn asks_due(&self) -> Vec<usize> {
        let now = self.world.now;
        let due = |n: &usize| self.transfers[*n].next.is_some_and(|at| at <= now);
        (0..self.transfers.len()).filter(due).collect()
    }

    pub(crate) fn ask(&mut self, n: usize) {
        let was_met = self.ledger.is_met(self.transfers[n].entity);
        let transfer = &mut self.transfers[n];
        let (_, wish) = transfer.plan[transfer.place];
        transfer.next = None;
        transfer.is_muddled |= transfer.under_way > 0;
        transfer.under_way += 1;
        let asked = Asked {
            wish,
            place: transfer.place,
            was_met,
            was_known: transfer.registered.is_some(),
        };
        let method = match wish {
            Wish::Register => {
                let due = self.world.now.after(PATIENCE);
                let digest = notice_digest(&transfer.id, &to_text(due));
                transfer.announced.push((due, digest));
                transfer.is_deleted = false;
                "POST"
            }
            Wish::Read => "GET",
            Wish::Remove => {
                transfer.registered = None;
                "DELETE"
            }
        };
        let id = transfer.id.clone();
        self.say(|| format!("{method} {id}"));
        let flight = self.scene.expect(&mut self.world, method, &id);
        self.fly(What::Portal(n, asked), flight, false);
    }

    /// It isn't known what came of it.
    pub(crate) fn asks_again(&mut self, n: usize, asked: Asked) {
        let later = Duration::from_secs(5).max(self.rng.millis(60_000));
        let transfer = &mut self.transfers[n];
        if asked.place == transfer.place && transfer.next.is_none() {
            transfer.next = Some(self.world.now.after(later));
        }
    }

    pub(crate) fn is_gone(&mut self, n: usize) {
        self.transfers[n].under_way -= 1;
    }

    pub(crate) fn is_told(&mut self, n: usize, asked: Asked, end: &End) {
        self.is_gone(n);
        let (status, code) = (end.answer.status, end.record.code);
        let json = end.json();
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let (state, due) = (text("state"), text("due_at"));
        let id = self.transfers[n].id.clone();
        self.say(|| format!("{id}: {status} {code} {state:?}"));
        if status == 503 {
            return self.asks_again(n, asked);
        }
        let is_met = self.ledger.is_met(self.transfers[n].entity);
        let transfer = &mut self.transfers[n];
        match state.as_deref() {
            Some("pending") => assert!(!asked.was_met, "pending, though a callback came"),
            Some("met") => assert!(is_met, "met, though none came"),
            Some("notified") => assert!(transfer.sent > 0, "notified, and nobody was"),
            Some(other) => panic!("{other}"),
            None => {}
        }
        if let Some(due) = &due {
            let known = transfer
                .announced
                .iter()
                .any(|(at, _)| to_text(*at) == *due);
            assert!(known, "due at a time that nobody announced");
        }
        let is_clear = !transfer.is_muddled;
        match (asked.wish, status) {
            (Wish::Register, 200 | 201) => {
                if is_clear && asked.was_known {
                    assert_eq!(
                        (&transfer.registered, status),
                        (&due, 200),
                        "registered anew"
                    );
                }
                if transfer.registered.is_none() {
                    transfer.since = self.world.now;
                }
                transfer.registered = due;
            }
            (Wish::Read, 200) => {
                assert!(!is_clear || !transfer.is_deleted, "deleted, and there");
                if is_clear && asked.was_known {
                    assert_eq!(transfer.registered, due, "due at another time");
                }
            }
            (Wish::Read, 404) => assert!(!is_clear || !asked.was_known, "it is forgotten"),
            (Wish::Remove, 200) => transfer.is_deleted = true,
            (Wish::Remove, 404) => {
                assert!(!is_clear || !asked.was_known, "it is forgotten");
                transfer.is_deleted = true;
            }
            _ => panic!("{asked:?} is answered {status} {code}"),
        }
        if asked.place == transfer.place {
            transfer.place += 1;
            let next = transfer.plan.get(transfer.place);
            transfer.next = next.map(|(at, _)| self.world.now.max(*at));
        }
    }

    /// Whether a callback is known to be expected, and was when this began.
    pub(crate) fn is_expected(&self, n: usize, began: Timestamp) -> bool {
        let mut transfers = self.transfers.iter();
        let of_event = |it: &&Transfer| self.events[n].text.contains(&format!("\"{}\"", it.id));
        let transfer = transfers.find(of_event);
        transfer.is_some_and(|it| !it.is_muddled && it.registered.is_some() && it.since < began)
    }

    // ── alarms ──

    /// When something of this is due.
    pub(crate) fn waits(&self) -> Vec<Timestamp> {
        let asks = self.transfers.iter().filter_map(|transfer| transfer.next);
        let alarms = self.alarms.at.iter();
        let alarms = alarms.filter(|(object, _)| self.alarms.is_free(object));
        let alarms = alarms.map(|(_, at)| *at);
        let ringing = self.alarms.ringing.iter().map(|one| one.at);
        asks.chain(alarms)
            .chain(ringing)
            .chain(self.cron())
            .collect()
    }

    /// When the cron finds something that is overdue: before that its turns change nothing.
    fn cron(&self) -> Option<Timestamp> {
        let objects = self.world.objects.keys();
        let first = objects.filter_map(|name| self.pending(name)).min()?;
        let turn = |at: i64| Timestamp((at.div_euclid(CRON_MS) + 1) * CRON_MS);
        let next = turn(first.0);
        Some(self.alarms.cron.map_or(next, |last| next.max(turn(last.0))))
    }

    /// When the next notice of an object is due.
    fn pending(&self, object: &str) -> Option<Timestamp> {
        let expected = self.world.objects[object].expected.borrow();
        let pending = expected
            .values()
            .filter(|(_, one)| one.standing == Standing::Pending);
        pending.map(|(at, _)| *at).min()
    }

    /// It was asked about something that is expected: it has an alarm.
    pub(crate) fn wake(&mut self, object: &str) {
        if let Some(due) = self.pending(object) {
            let due = due.max(self.world.now);
            let at = self.alarms.at.entry(object.to_owned()).or_insert(due);
            *at = due.min(*at);
        }
    }

    pub(crate) fn rings_due(&self) -> Vec<Ring> {
        let now = self.world.now;
        let due = self.alarms.at.iter().filter(|(_, at)| **at <= now);
        let due = due.filter(|(object, _)| self.alarms.is_free(object));
        let begin = due.map(|(object, _)| Ring::Begins(object.clone()));
        let ringing = self.alarms.ringing.iter().enumerate();
        let go_on = ringing
            .filter(|(_, one)| one.at <= now)
            .map(|(place, _)| Ring::GoesOn(place));
        let cron = self.cron().filter(|at| *at <= now).map(|_| Ring::Cron);
        begin.chain(go_on).chain(cron).collect()
    }

    pub(crate) fn ring(&mut self, ring: Ring) {
        let now = self.world.now;
        match ring {
            Ring::Cron => {
                self.alarms.cron = Some(now);
                let flight = self.world.begin_watch();
                self.fly(What::Cron, flight, false);
                if self.rng.once_in(3) {
                    let flight = self.world.begin_tick();
                    self.fly(What::Cron, flight, false);
                }
            }
            Ring::Begins(object) if !self.alarms.at.contains_key(&object) => {}
            Ring::Begins(object) => {
                // First: should anything fail, it is tried again.
                self.alarms.at.insert(object.clone(), now.after(AGAIN));
                let of = &self.world.objects[&object];
                of.page.set(u32::from(self.rng.once_in(2)));
                let page = overdue(of, now).unwrap();
                self.say(|| format!("the alarm of {object}: {} overdue", page.notices.len()));
                for (_, notice) in &page.notices {
                    let (n, due) = self.notice(notice);
                    let transfer = &self.transfers[n];
                    assert!(due <= now, "a notice before its time");
                    assert!(
                        transfer.is_muddled || !transfer.is_deleted,
                        "a notice of what is expected no longer"
                    );
                }
                if page.notices.is_empty() {
                    return self.rests(&object);
                }
                let at = self.goes_on(now);
                self.alarms.ringing.push(Ringing {
                    object,
                    page,
                    is_sent: false,
                    at,
                });
            }
            // It may have died just now.
            Ring::GoesOn(place) if place >= self.alarms.ringing.len() => {}
            Ring::GoesOn(place) => {
                let mut one = self.alarms.ringing.swap_remove(place);
                let fails = self.is_faulty() && self.rng.once_in(6);
                let performed = !fails || self.rng.once_in(2);
                if !one.is_sent {
                    if performed {
                        for (_, notice) in &one.page.notices {
                            let (n, _) = self.notice(notice);
                            self.transfers[n].sent += 1;
                            self.world.queued.push(notice_message(notice, now));
                        }
                    }
                    self.say(|| format!("notices are sent: {performed}, and known: {}", !fails));
                    one.is_sent = true;
                    one.at = self.goes_on(now);
                    if !fails {
                        self.alarms.ringing.push(one);
                    }
                    return;
                }
                let of = &self.world.objects[&one.object];
                if fails {
                    of.fault.set(Some(if performed {
                        Fault::After
                    } else {
                        Fault::Before
                    }));
                }
                let noted = notified(of, &one.page, now);
                of.fault.set(None);
                if noted.is_ok() {
                    self.rests(&one.object);
                }
            }
        }
    }

    /// When an alarm under way has come a step further. A queue may take its time.
    fn goes_on(&mut self, now: Timestamp) -> Timestamp {
        if self.rng.once_in(4) {
            now.after(self.rng.millis(3_000))
        } else {
            now
        }
    }

    /// An alarm is at its end.
    fn rests(&mut self, object: &str) {
        match self.pending(object) {
            Some(due) => self
                .alarms
                .at
                .insert(object.to_owned(), due.max(self.world.now)),
            None => self.alarms.at.remove(object),
        };
    }

    /// An alarm dies, or is lost.
    pub(crate) fn disturb_alarms(&mut self) {
        if self.rng.once_in(2) {
            self.alarms.ringing.pop();
        } else if let Some((object, _)) = self.alarms.at.pop_first() {
            self.say(|| format!("the alarm of {object} is lost"));
        }
    }

    /// Whose notice it is, and when that was due.
    fn notice(&self, message: &[u8]) -> (usize, Timestamp) {
        let told: Value = serde_json::from_slice(&parcel_of(message).body).unwrap();
        let id = told["requestID"].as_str().unwrap();
        let n = self.transfers.iter().position(|it| it.id == id).unwrap();
        let due = Timestamp::parse_rfc3339(told["due_at"].as_str().unwrap());
        (n, due.unwrap())
    }

    /// What is expected ends met, noticed or deleted.
    pub(crate) fn check_silence(&self, letters: &[Letter]) {
        let is_told = |digest: &[u8; 32]| {
            let id = webhook_id(digest);
            let kept = letters
                .iter()
                .any(|letter| letter.webhook_id.as_ref() == Some(&id));
            kept || self.world.taken.contains(&id) || self.is_enqueued(&id)
        };
        for object in self.world.objects.values() {
            for (entity, (_, expected)) in object.expected.borrow().iter() {
                let (n, due) = self.notice(&expected.notice);
                let digest = notice_digest(&self.transfers[n].id, &to_text(due));
                let met = self.ledger.is_met(*entity);
                let holds = match expected.standing {
                    Standing::Pending => false,
                    Standing::Met => met,
                    Standing::Notified => met || is_told(&digest),
                };
                assert!(holds, "{:?}, and silence", expected.standing);
            }
        }
        for transfer in &self.transfers {
            let Some(due) = transfer
                .registered
                .as_ref()
                .filter(|_| !transfer.is_muddled)
            else {
                continue;
            };
            let digest = notice_digest(&transfer.id, due);
            assert!(
                self.ledger.is_met(transfer.entity) || is_told(&digest),
                "{} is expected, and nobody was told",
                transfer.id
            );
        }
    }
}
