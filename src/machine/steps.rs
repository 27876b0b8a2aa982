//! The single steps between two effects, and the ends.

use std::time::Duration;

use serde::Serialize;

use super::prepare::{self, FRAME_FRONT, Role, claimed, frame_message, hash_of, pointer_message};
use super::{
    ASK_TIMEOUT, Again, CACHE_LAG, COMMIT_RESERVE, ENQUEUE_RESERVE, Facts, GIVE_UP, GLANCE_TIMEOUT,
    Gateway, Goods, Hold, LAYOUT_OBJECT, LEASE, LEAST_CACHED, LEAST_DELIVERY, LOOK_TIMEOUT,
    MAX_MESSAGE_BYTES, MESSAGE_LEASE, Machine, Otherwise, Pending, QUEUE_LIFE, QUEUES_LIFE,
    Shipment, State, has_own_queue,
};
use crate::auth::{Opened, Sealed};
use crate::bytes::hex;
use crate::config::{DEAD_LETTERS, DELIVERIES, Dedupe, Origin, Road, Target};
use crate::delivery::{Format, MAX_DELAY, backoff};
use crate::effect::{Answer, Delivery, Done, Effect, Enqueue, Put, Verdict};
use crate::entity::{
    Agreed, ClaimRequest, Claimant, Condition, EntityKey, EventHash, ExpectRequest, Fence,
    Ordering, Receipt, Reply, Request,
};
use crate::event::{Claimed, Prepared};
use crate::letters::{LETTERS_OBJECT, Letter, LetterId, LetterRequest};
use crate::outcome::{Level, Outcome};
use crate::parcel::{Parcel, Reason};
use crate::provider::phil::{self, Ended};
use crate::time::Timestamp;

impl Facts {
    // ── the claim ──

    /// Asks what is known of the event: KV first where it is all there is, or a short cut.
    pub(super) fn start(
        self,
        gateway: &Gateway,
        pending: Box<Pending>,
        now: Timestamp,
    ) -> (Machine, Effect) {
        match pending.dedupe {
            Dedupe::Kv => {
                let key = self.seen_key(pending.event);
                self.get(key, LOOK_TIMEOUT, State::Looking(pending), now)
            }
            Dedupe::Exact { .. } if !is_cached(&pending) => {
                self.ask_for_claim(gateway, pending, now)
            }
            Dedupe::Exact { edge_cache: true } if self.message.is_none() => {
                let key = cache_key(&pending);
                self.get(key, GLANCE_TIMEOUT, State::Looking(pending), now)
            }
            Dedupe::Exact { .. } => self.ask_for_claim(gateway, pending, now),
        }
    }

    /// What is remembered of a request is another thing than what is remembered of a message of it: the one is that it was handed over, the other that it was delivered.
    fn seen_key(&self, event: EventHash) -> String {
        let kind = if self.message.is_none() {
            "seen"
        } else {
            "done"
        };
        format!("{kind}/{}", hex(&event.0))
    }

    pub(super) fn ask_for_claim(
        self,
        gateway: &Gateway,
        pending: Box<Pending>,
        now: Timestamp,
    ) -> (Machine, Effect) {
        if let Some(agreed) = gateway.agreed.get() {
            return self.claim_at(pending, agreed, now);
        }
        let request = gateway.layout_request();
        let state = State::Agreeing(pending);
        self.ask(LAYOUT_OBJECT.to_owned(), request, state, now)
    }

    pub(super) fn claim_at(
        self,
        pending: Box<Pending>,
        agreed: Agreed,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let Some(previous) = agreed.previous else {
            return self.claim(pending, agreed, None, now);
        };
        let request = Request::Move {
            entity: pending.entity,
            window: pending.window,
        };
        let object = previous.name(pending.entity);
        self.ask(object, request, State::Moving(pending, agreed), now)
    }

    pub(super) fn claim(
        self,
        pending: Box<Pending>,
        agreed: Agreed,
        moved: Option<Vec<u8>>,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let claimant = match self.message {
            None => Claimant::Sender,
            Some(_) => Claimant::Message(pending.fence),
        };
        let request = Request::Claim {
            entity: pending.entity,
            claim: ClaimRequest {
                event: pending.event,
                round: pending.parcel.round,
                claimant,
                step: pending.step,
                lease: self.lease(),
                window: pending.window,
            },
            moved,
        };
        let request = match pending.condition {
            Some(condition) => Request::ClaimIf(condition, Box::new(request)),
            None => request,
        };
        let object = agreed.objects.name(pending.entity);
        self.ask(object, request, State::Claiming(pending, agreed), now)
    }

    /// The claim would be granted, but for its condition.
    pub(super) fn unmet(
        self,
        gateway: &Gateway,
        pending: Box<Pending>,
        agreed: Agreed,
        now: Timestamp,
    ) -> (Machine, Effect) {
        if pending.condition == Some(Condition::StillMissing) {
            return self.end(gateway, Outcome::CallbackMet, None, now);
        }
        // An expectation stays where it was registered.
        let Some(previous) = agreed.previous else {
            return self.expected(pending, agreed, false, now);
        };
        let request = Request::Expect(ExpectRequest::Read(pending.entity));
        let object = previous.name(pending.entity);
        self.ask(object, request, State::Expecting(pending, agreed), now)
    }

    /// Whether anybody expects it is known now. What nobody does is a dead letter, of these bytes: it may come again once somebody does.
    pub(super) fn expected(
        mut self,
        mut pending: Box<Pending>,
        agreed: Agreed,
        is_expected: bool,
        now: Timestamp,
    ) -> (Machine, Effect) {
        pending.condition = None;
        if !is_expected {
            pending.refuse(Reason::ExpectationUnknown);
            self.record.entity = Some(hex(&pending.entity.0));
        }
        self.claim_at(pending, agreed, now)
    }

    pub(super) fn lease(&self) -> Duration {
        if self.message.is_some() {
            MESSAGE_LEASE
        } else {
            LEASE
        }
    }

    /// The object says that it was here before. The edge cache is told once, and for no longer than the object will go on saying so.
    pub(super) fn duplicate(
        mut self,
        gateway: &Gateway,
        pending: &Pending,
        remembered: Duration,
        now: Timestamp,
    ) -> (Machine, Effect) {
        self.reason = pending.goods.reason();
        let kept = remembered.saturating_sub(CACHE_LAG);
        let cached = matches!(pending.dedupe, Dedupe::Exact { edge_cache: true })
            && self.message.is_none()
            && is_cached(pending);
        if !cached || kept < LEAST_CACHED || !gateway.notes(pending.event) {
            return self.end(gateway, Outcome::Duplicate, None, now);
        }
        let put = Put {
            key: cache_key(pending),
            value: b"1".to_vec(),
            kept,
            timeout: self.left(now).min(LOOK_TIMEOUT),
        };
        self.put(put, State::Noting)
    }

    /// With KV alone nobody grants anything: the event is handed over, and remembered afterwards.
    pub(super) fn go_on_unclaimed(
        mut self,
        gateway: &Gateway,
        mut pending: Pending,
        deduped: bool,
        now: Timestamp,
    ) -> (Machine, Effect) {
        if !deduped {
            self.record.dedupe = Some("unknown");
        }
        let hold = Hold::Kv {
            key: self.seen_key(pending.event),
            entity: pending.entity,
            event: pending.event,
            window: pending.window,
        };
        // Only a message that was claimed elsewhere, by the settings of before, is of a round that is known. What goes out as one of the first stays one.
        let round = pending.parcel.round.unwrap_or(0);
        if pending.step.life.has_rounds() {
            pending.parcel.round = Some(round);
        }
        let claimed = Claimed {
            sequence: None,
            state: None,
            ordering: Ordering::Unknown,
            round: self.name_round(&mut pending, round),
            deduped,
        };
        self.hand_over(gateway, pending, hold, claimed, now)
    }

    /// The store can't tell. A sender that retries is asked to; of one that may not, the event goes into a queue all the same.
    pub(super) fn unclaimed(
        mut self,
        gateway: &Gateway,
        mut pending: Pending,
        outcome: Outcome,
        now: Timestamp,
    ) -> (Machine, Effect) {
        if pending.retries || self.message.is_some() {
            return self.end(gateway, outcome, None, now);
        }
        let place = match pending.goods {
            Goods::Event(place, _) => gateway.destination(place),
            Goods::Letter(_) => None,
        };
        let takes = match (&pending.goods, place.map(|destination| &destination.to)) {
            (Goods::Letter(_), _) | (_, Some(Target::Queue(_))) => true,
            (_, Some(Target::Origin(_))) => has_own_queue(gateway),
            (_, None) => false,
        };
        if !takes {
            return self.end(gateway, outcome, None, now);
        }
        self.record.dedupe = Some("unknown");
        let claimed = Claimed {
            sequence: None,
            state: None,
            ordering: Ordering::Unknown,
            round: 0,
            deduped: false,
        };
        let is_asked = pending.condition.is_some() && has_own_queue(gateway);
        if let (Goods::Event(place, _), Some(to)) =
            (&pending.goods, place.map(|destination| &destination.to))
            && (is_asked || matches!(to, Target::Origin(_)))
        {
            // Our consumer claims it: then the store may be able to tell.
            self.record.destination = gateway.destination(*place).map(|d| d.id.clone());
            let otherwise = Otherwise::Release(outcome, None);
            let delay = backoff(1, 0);
            return self.enqueue_parcel(
                gateway,
                Hold::Nothing,
                pending.parcel,
                delay,
                otherwise,
                now,
            );
        }
        // However often it comes meanwhile, it is one letter.
        pending.parcel.claimed = Some(prepare::claimed(pending.entity, pending.event, Fence(0)));
        self.hand_over(gateway, pending, Hold::Nothing, claimed, now)
    }

    // ── handing over ──

    /// Gives what was claimed to whoever is to have it.
    pub(super) fn hand_over(
        mut self,
        gateway: &Gateway,
        pending: Pending,
        hold: Hold,
        claimed: Claimed,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let (place, prepared) = match pending.goods {
            Goods::Letter(reason) => {
                return self.dead_letter(gateway, hold, pending.parcel, reason, now);
            }
            Goods::Event(place, prepared) => (place, prepared),
        };
        if pending.withholds && claimed.ordering == Ordering::Superseded {
            let reason = Reason::WithheldSuperseded;
            return self.dead_letter(gateway, hold, pending.parcel, reason, now);
        }
        let Some(destination) = gateway.destination(place) else {
            return self.release(gateway, hold, Outcome::SourceMisconfigured, None, now);
        };
        self.record.destination = Some(destination.id.clone());
        match &destination.to {
            Target::Queue(queue) => {
                let otherwise = Otherwise::Release(Outcome::EnqueueFailed, None);
                let comes_again = pending.retries || self.message.is_some();
                if comes_again && self.left(now).is_zero() {
                    // The lease may be over, too: somebody else may have sent it.
                    return self.otherwise(gateway, hold, otherwise, now);
                }
                let event = prepared.map(|prepared| prepared.finish(claimed));
                let shipment = Shipment {
                    hold,
                    message: Enqueue {
                        queue: queue.clone(),
                        body: event.unwrap_or_default(),
                        text: true,
                        delay: Duration::ZERO,
                        timeout: Duration::ZERO,
                    },
                    receipt: Receipt::Enqueued,
                    outcome: Outcome::Enqueued,
                    otherwise,
                    knows: None,
                };
                self.ship(gateway, shipment, Sealed::Event, now)
            }
            Target::Origin(origin) => {
                if origin.road == Road::Queue && self.message.is_none() {
                    let otherwise = Otherwise::Release(Outcome::EnqueueFailed, None);
                    let (parcel, none) = (pending.parcel, Duration::ZERO);
                    return self.enqueue_parcel(gateway, hold, parcel, none, otherwise, now);
                }
                let falls_back = origin.road == Road::DirectThenQueue && self.message.is_none();
                // For the queue that takes what the origin doesn't: ours, or that of the dead letters.
                let reserve = COMMIT_RESERVE + ENQUEUE_RESERVE;
                let left = self.left(now).saturating_sub(reserve);
                if left < LEAST_DELIVERY {
                    let otherwise = Otherwise::Release(Outcome::StoreUnavailable, None);
                    let parcel = pending.parcel;
                    return if falls_back {
                        let none = Duration::ZERO;
                        self.enqueue_parcel(gateway, hold, parcel, none, otherwise, now)
                    } else {
                        self.otherwise(gateway, hold, otherwise, now)
                    };
                }
                let event = prepared.map(|prepared: Prepared| prepared.finish(claimed));
                let delivery = self.delivery(origin, &pending.parcel, event, left, now);
                let parcel = Box::new(pending.parcel);
                let machine = Machine {
                    state: State::Delivering(hold, place, parcel),
                    facts: self,
                };
                (machine, Effect::Deliver(Box::new(delivery)))
            }
        }
    }

    /// The request that an origin gets: the canonical event, or what the sender sent.
    fn delivery(
        &self,
        origin: &Origin,
        parcel: &Parcel,
        event: Option<Vec<u8>>,
        timeout: Duration,
        now: Timestamp,
    ) -> Delivery {
        let (body, content_type, original) = match (origin.format, event) {
            // Nobody sent what a notice is made of.
            (Format::Original, _) if !parcel.is_notice() => (
                parcel.body.clone(),
                "application/json",
                parcel.headers.clone(),
            ),
            (_, event) => (
                event.unwrap_or_default(),
                "application/cloudevents+json",
                Vec::new(),
            ),
        };
        let id = self.record.webhook_id.as_deref().unwrap_or_default();
        let signature = origin.keys.sign(id, now, &body);
        let ours = [
            ("content-type", content_type),
            ("user-agent", concat!("rxgate/", env!("CARGO_PKG_VERSION"))),
            ("webhook-id", id),
            ("webhook-timestamp", &now.seconds().to_string()),
            ("webhook-signature", &signature),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let fixed = origin.headers.iter();
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Delivery {
            url: origin.url.clone(),
            headers: ours.into_iter().chain(original).chain(fixed).collect(),
            body,
            timeout,
        }
    }

    /// The origin doesn't have it, or may have it: on to the queue, or back.
    pub(super) fn not_delivered(
        self,
        gateway: &Gateway,
        hold: Hold,
        place: usize,
        parcel: Parcel,
        otherwise: Otherwise,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let Some(message) = &self.message else {
            let falls_back = self
                .origin(gateway, place)
                .is_some_and(|origin| origin.road == Road::DirectThenQueue);
            if !falls_back {
                return self.otherwise(gateway, hold, otherwise, now);
            }
            let delay = otherwise.delay();
            return self.enqueue_parcel(gateway, hold, parcel, delay, otherwise, now);
        };
        if message.is_exhausted(now) {
            return self.dead_letter(gateway, hold, parcel, Reason::AttemptsUsedUp, now);
        }
        if message.learnt_round && message.role == Some(Role::Deliver) {
            // Tried again as it is it might be of a later round, and be another event: a new message knows.
            let delay = otherwise.delay();
            return self.enqueue_parcel(gateway, hold, parcel, delay, otherwise, now);
        }
        let comes_later = backoff(message.attempt, u16::MAX) >= MESSAGE_LEASE;
        match otherwise {
            // The next attempt comes when the lease has lapsed anyway: one call and one row are spared.
            Otherwise::Release(outcome, wish) if comes_later => {
                self.end(gateway, outcome, wish, now)
            }
            _ => self.otherwise(gateway, hold, otherwise, now),
        }
    }

    pub(super) fn otherwise(
        self,
        gateway: &Gateway,
        hold: Hold,
        otherwise: Otherwise,
        now: Timestamp,
    ) -> (Machine, Effect) {
        match otherwise {
            Otherwise::Release(outcome, wish) => self.release(gateway, hold, outcome, wish, now),
            Otherwise::Leave(outcome, lease) => self.end(gateway, outcome, Some(lease), now),
        }
    }

    pub(super) fn origin<'g>(&self, gateway: &'g Gateway, place: usize) -> Option<&'g Origin> {
        match gateway
            .destination(place)
            .map(|destination| &destination.to)
        {
            Some(Target::Origin(origin)) => Some(origin),
            _ => None,
        }
    }

    // ── queues ──

    /// Into our own queue, to be delivered from there.
    pub(super) fn enqueue_parcel(
        self,
        gateway: &Gateway,
        hold: Hold,
        mut parcel: Parcel,
        delay: Duration,
        otherwise: Otherwise,
        now: Timestamp,
    ) -> (Machine, Effect) {
        parcel.claimed = hold.claimed();
        let shipment = Shipment {
            hold,
            message: Enqueue {
                queue: DELIVERIES.to_owned(),
                body: parcel.pack(),
                text: false,
                delay,
                timeout: Duration::ZERO,
            },
            receipt: Receipt::Queued,
            outcome: Outcome::Enqueued,
            otherwise,
            knows: None,
        };
        self.ship(gateway, shipment, Sealed::Delivery, now)
    }

    /// Into the dead-letter queue.
    pub(super) fn dead_letter(
        mut self,
        gateway: &Gateway,
        hold: Hold,
        mut parcel: Parcel,
        reason: Reason,
        now: Timestamp,
    ) -> (Machine, Effect) {
        self.record.reason = Some(reason.code());
        self.reason = Some(reason);
        if self
            .message
            .as_ref()
            .is_some_and(|message| message.role.is_none())
        {
            // It is a dead letter already, and stays one.
            return self.release(gateway, hold, Outcome::DeliveryFailed, None, now);
        }
        let learnt = self.message.as_ref().is_some_and(|it| it.learnt_round);
        let knows = (learnt && has_own_queue(gateway)).then(|| Box::new(parcel.clone()));
        parcel.label.reason = Some(reason);
        let (receipt, outcome) = match reason {
            Reason::WithheldSuperseded => (Receipt::Withheld, Outcome::Withheld),
            _ => (Receipt::DeadLettered, Outcome::DeadLettered),
        };
        parcel.claimed = hold.claimed().or(parcel.claimed);
        let shipment = Shipment {
            hold,
            message: Enqueue {
                queue: DEAD_LETTERS.to_owned(),
                body: parcel.pack(),
                text: false,
                delay: Duration::ZERO,
                timeout: Duration::ZERO,
            },
            receipt,
            outcome,
            otherwise: Otherwise::Release(Outcome::DeadLetterFailed, None),
            knows,
        };
        self.ship(gateway, shipment, Sealed::Letter, now)
    }

    /// Seals what is ours, and sends it; what is too large, by way of KV.
    fn ship(
        self,
        gateway: &Gateway,
        mut shipment: Shipment,
        what: Sealed,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let small = shipment.message.body.len() <= MAX_MESSAGE_BYTES;
        if shipment.message.text && small {
            return self.send(shipment, now);
        }
        let plain = std::mem::take(&mut shipment.message.body);
        let front: &[u8] = if small { FRAME_FRONT } else { &[] };
        let Some(frame) = gateway.seal(what, front, &plain) else {
            return self.not_shipped(gateway, shipment, now);
        };
        if small {
            shipment.message.body = frame;
            return self.send(shipment, now);
        }
        let hash = hash_of(&frame);
        let key = prepare::body_key(&hash);
        let pointer = if shipment.message.text {
            let id = self.record.webhook_id.as_deref().unwrap_or_default();
            Some(reference(&key, &hash, id))
        } else {
            pointer_message(gateway, &hash)
        };
        let Some(pointer) = pointer else {
            return self.not_shipped(gateway, shipment, now);
        };
        shipment.message.body = pointer;
        let put = Put {
            key,
            value: frame,
            kept: QUEUES_LIFE + gateway.config.letters_kept,
            timeout: self
                .left(now)
                .saturating_sub(COMMIT_RESERVE)
                .min(ASK_TIMEOUT),
        };
        self.put(put, State::Storing(Box::new(shipment)))
    }

    pub(super) fn send(mut self, mut shipment: Shipment, now: Timestamp) -> (Machine, Effect) {
        self.record.messages_sent += 1;
        shipment.message.timeout = self
            .left(now)
            .saturating_sub(COMMIT_RESERVE)
            .min(ASK_TIMEOUT);
        let body = std::mem::take(&mut shipment.message.body);
        let message = Enqueue {
            body,
            ..shipment.message.clone()
        };
        let machine = Machine {
            state: State::Sending(Box::new(shipment)),
            facts: self,
        };
        (machine, Effect::Enqueue(Box::new(message)))
    }

    pub(super) fn not_shipped(
        self,
        gateway: &Gateway,
        shipment: Shipment,
        now: Timestamp,
    ) -> (Machine, Effect) {
        if let Some(parcel) = shipment.knows {
            let Shipment {
                hold, otherwise, ..
            } = shipment;
            let delay = otherwise.delay();
            return self.enqueue_parcel(gateway, hold, *parcel, delay, otherwise, now);
        }
        self.otherwise(gateway, shipment.hold, shipment.otherwise, now)
    }

    // ── what is held ──

    pub(super) fn commit(
        self,
        gateway: &Gateway,
        hold: Hold,
        outcome: Outcome,
        receipt: Receipt,
        again: Again,
        now: Timestamp,
    ) -> (Machine, Effect) {
        match hold {
            Hold::Nothing => self.end(gateway, outcome, None, now),
            Hold::Kv {
                ref key, window, ..
            } => {
                let put = Put {
                    key: key.clone(),
                    value: b"1".to_vec(),
                    kept: window,
                    timeout: self.left(now).min(LOOK_TIMEOUT),
                };
                self.put(put, State::Committing(hold, outcome, receipt, again))
            }
            Hold::Object {
                objects,
                entity,
                event,
                fence,
                window,
            } => {
                // A message of it may be on its way for longer than the window.
                let window = if receipt == Receipt::Queued {
                    window.max(QUEUE_LIFE)
                } else {
                    window
                };
                let request = Request::Commit {
                    entity,
                    event,
                    fence,
                    receipt,
                    window,
                };
                let state = State::Committing(hold, outcome, receipt, again);
                self.ask(objects.name(entity), request, state, now)
            }
        }
    }

    pub(super) fn release(
        self,
        gateway: &Gateway,
        hold: Hold,
        outcome: Outcome,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let Hold::Object {
            objects,
            entity,
            event,
            fence,
            ..
        } = hold
        else {
            return self.end(gateway, outcome, retry_after, now);
        };
        let request = Request::Release {
            entity,
            event,
            fence,
        };
        let state = State::Releasing(outcome, retry_after);
        self.ask(objects.name(entity), request, state, now)
    }

    // ── effects ──

    fn ask(
        mut self,
        object: String,
        request: Request,
        state: State,
        now: Timestamp,
    ) -> (Machine, Effect) {
        self.record.store_calls += 1;
        let effect = Effect::Ask {
            object,
            request,
            timeout: self.left(now).min(ASK_TIMEOUT),
        };
        let machine = Machine { state, facts: self };
        (machine, effect)
    }

    pub(super) fn get(
        mut self,
        key: String,
        timeout: Duration,
        state: State,
        now: Timestamp,
    ) -> (Machine, Effect) {
        self.record.kv_reads += 1;
        let timeout = self.left(now).min(timeout);
        let machine = Machine { state, facts: self };
        (machine, Effect::Get { key, timeout })
    }

    fn put(mut self, put: Put, state: State) -> (Machine, Effect) {
        self.record.kv_writes += 1;
        let machine = Machine { state, facts: self };
        (machine, Effect::Put(Box::new(put)))
    }

    /// An object's reply; `None` if there is none, or none that this version reads.
    pub(super) fn reply(&mut self, done: &Done<'_>) -> Option<Reply> {
        let Done::Replied(bytes) = done else {
            return None;
        };
        let (reply, cost) = Reply::unpack(bytes).ok()?;
        self.record.rows_read += usize::try_from(cost.read).unwrap_or(0);
        self.record.rows_written += usize::try_from(cost.written).unwrap_or(0);
        Some(reply)
    }

    pub(super) fn left(&self, now: Timestamp) -> Duration {
        now.until(self.deadline)
    }

    // ── messages ──

    /// The frame of a message is here: open it, and do what its queue is for.
    pub(super) fn opened(
        self,
        gateway: &Gateway,
        role: Role,
        frame: &[u8],
        now: Timestamp,
    ) -> (Machine, Effect) {
        let open = |what| prepare::open_parcel(gateway, &[what], frame);
        if role == Role::Keep
            && let Some((parcel, _)) = open(Sealed::Letter)
        {
            return self.keep(gateway, Some(&parcel), frame_message(frame), now);
        }
        match (open(Sealed::Delivery), role) {
            (Some((parcel, opened)), Role::Deliver) => {
                self.deliver_opened(gateway, parcel, &opened, now)
            }
            (Some((parcel, opened)), Role::Keep) => {
                self.undelivered(gateway, parcel, &opened, frame, now)
            }
            (None, _) => self.unreadable(gateway, role, Some(frame), now),
        }
    }

    /// A delivery among the dead letters: the platform moved it there, or it was given up without a claim. Another message of the same event may have been delivered meanwhile, so it is
    /// claimed before it becomes a letter. Without a source there is nothing to claim by: then it is kept as it is; a faulty one may be mended first.
    fn undelivered(
        mut self,
        gateway: &Gateway,
        mut parcel: Parcel,
        opened: &Opened,
        frame: &[u8],
        now: Timestamp,
    ) -> (Machine, Effect) {
        let pending = parcel
            .verified(opened)
            .map(|verified| prepare::message(gateway, &verified, parcel.clone(), &mut self));
        let is_last = |it: &Self| it.message.as_ref().is_none_or(|it| it.is_exhausted(now));
        if let Some(Err(outcome @ Outcome::SourceMisconfigured)) = pending
            && !is_last(&self)
        {
            return self.end(gateway, outcome, None, now);
        }
        let Some(Ok(mut pending)) = pending else {
            // What it was a dead letter for before, if it was, isn't what it is one for now.
            parcel.label.reason = None;
            return self.keep(gateway, Some(&parcel), frame_message(frame), now);
        };
        if pending.goods.reason().is_none() {
            pending.goods = Goods::Letter(Reason::AttemptsUsedUp);
        }
        self.start(gateway, Box::new(pending), now)
    }

    pub(super) fn deliver_opened(
        mut self,
        gateway: &Gateway,
        parcel: Parcel,
        opened: &Opened,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let Some(verified) = parcel.verified(opened) else {
            return self.unreadable(gateway, Role::Deliver, None, now);
        };
        match prepare::message(gateway, &verified, parcel, &mut self) {
            Err(outcome) => self.end(gateway, outcome, None, now),
            Ok(pending) => self.start(gateway, Box::new(pending), now),
        }
    }

    /// It can't be opened. Its key may come back, so it is tried again; as a dead letter it is kept as it is in the end: `frame`, if that was fetched already.
    pub(super) fn unreadable(
        self,
        gateway: &Gateway,
        role: Role,
        frame: Option<&[u8]>,
        now: Timestamp,
    ) -> (Machine, Effect) {
        // Without any key nothing can be opened: that is no message's fault.
        if gateway.config.seal_keys.is_none() {
            return self.end(gateway, Outcome::MessageUnreadable, None, now);
        }
        let frame = frame.map(frame_message);
        self.keep_raw(gateway, role, frame, Outcome::MessageUnreadable, now)
    }

    /// Its body isn't where it should be. As a dead letter it is kept without, in the end.
    pub(super) fn missing(
        self,
        gateway: &Gateway,
        role: Role,
        now: Timestamp,
    ) -> (Machine, Effect) {
        self.keep_raw(gateway, role, None, Outcome::BodyMissing, now)
    }

    fn keep_raw(
        mut self,
        gateway: &Gateway,
        role: Role,
        frame: Option<Vec<u8>>,
        outcome: Outcome,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let raw = match &self.message {
            Some(message) if role == Role::Keep && message.is_exhausted(now) => {
                frame.or_else(|| message.raw.clone())
            }
            _ => None,
        };
        match raw {
            Some(raw) => {
                self.record.problem = Some(outcome.spec().code);
                self.keep(gateway, None, raw, now)
            }
            None => self.end(gateway, outcome, None, now),
        }
    }

    fn keep(
        mut self,
        gateway: &Gateway,
        parcel: Option<&Parcel>,
        sealed: Vec<u8>,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let letter = Box::new(letter(gateway, parcel, &sealed, now));
        self.record.source = parcel.map(|parcel| parcel.source.clone());
        self.record.webhook_id.clone_from(&letter.webhook_id);
        self.record.dead_letter = Some(letter.id.to_string());
        let reason = Reason::ALL.into_iter().find(|r| r.code() == letter.code);
        self.record.reason = reason.map(Reason::code);
        let request = Request::Letters(LetterRequest::Keep { letter, sealed });
        self.ask(LETTERS_OBJECT.to_owned(), request, State::Keeping, now)
    }

    // ── the ends ──

    /// A refusal. What anybody can bring about as often as he likes is logged within a limit.
    pub(super) fn refuse(
        self,
        gateway: &Gateway,
        outcome: Outcome,
        now: Timestamp,
    ) -> (Machine, Effect) {
        if !outcome.is_cheap() || !gateway.config.bindings.rate_limit {
            return self.end(gateway, outcome, None, now);
        }
        // What isn't one of our names isn't counted by name.
        let known = self
            .record
            .source
            .clone()
            .unwrap_or_else(|| "/unknown".to_owned());
        let machine = Machine {
            state: State::Limiting(outcome),
            facts: self,
        };
        (machine, Effect::Limit { key: known })
    }

    /// The end: of a request the answer, of a message its verdict.
    pub(super) fn end(
        mut self,
        gateway: &Gateway,
        outcome: Outcome,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let Some(message) = &mut self.message else {
            return self.answer(outcome, retry_after, true, now);
        };
        if outcome.is_settled() {
            return self.settle(outcome, Verdict::Ack, now);
        }
        if message.is_exhausted(now)
            && let Some(role) = message.role
            && let Some(raw) = message.raw.take()
        {
            return self.give_up(role, raw, outcome, now);
        }
        let least = match message.role {
            Some(Role::Deliver) if outcome != Outcome::BodyMissing => Duration::ZERO,
            _ => outcome.spec().retry_after.unwrap_or_default(),
        };
        let delay = backoff(message.attempt, gateway.entropy.number())
            .max(retry_after.unwrap_or_default())
            .max(least)
            .min(MAX_DELAY);
        self.settle(outcome, Verdict::Retry(delay), now)
    }

    /// A message that was tried for long enough: to the dead letters as it is, before its queue forgets it. A dead letter that can't be kept yet starts anew.
    fn give_up(
        mut self,
        role: Role,
        raw: Vec<u8>,
        outcome: Outcome,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let settled = match role {
            Role::Deliver => Outcome::DeadLettered,
            Role::Keep => Outcome::Enqueued,
        };
        if role == Role::Deliver {
            self.record.reason = Some(Reason::AttemptsUsedUp.code());
        }
        self.record.problem = Some(outcome.spec().code);
        // Its time may be used up; nobody waits for it.
        self.deadline = now.after(GIVE_UP);
        let shipment = Shipment {
            hold: Hold::Nothing,
            message: Enqueue {
                queue: DEAD_LETTERS.to_owned(),
                body: raw,
                text: false,
                delay: Duration::from_secs(60),
                timeout: Duration::ZERO,
            },
            receipt: Receipt::DeadLettered,
            outcome: settled,
            otherwise: Otherwise::Release(outcome, None),
            knows: None,
        };
        self.send(shipment, now)
    }

    fn settle(mut self, outcome: Outcome, verdict: Verdict, now: Timestamp) -> (Machine, Effect) {
        let record = self.log(outcome, now);
        let machine = Machine {
            state: State::Ended,
            facts: self,
        };
        (machine, Effect::Settle(Box::new((verdict, record))))
    }

    pub(super) fn answer(
        mut self,
        outcome: Outcome,
        retry_after: Option<Duration>,
        logged: bool,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let spec = outcome.spec();
        let reply = self.phil.as_ref().map(|echo| {
            let ended = Ended {
                outcome,
                reason: self.reason,
                problem: self.record.problem,
                path: self.record.path.as_deref(),
            };
            phil::answer(&ended, echo, now)
        });
        let reason = self.record.reason;
        let mut record = self.log(outcome, now);
        let (status, body) = match reply {
            Some(reply) => (reply.status, reply.body),
            None => {
                let (event_id, challenge) = (self.event_id.as_deref(), self.challenge.as_deref());
                (
                    spec.status,
                    answer_body(spec.code, reason, event_id, challenge),
                )
            }
        };
        record.status = status;
        let retry_after = retry_after.or(spec.retry_after);
        let answer = Answer {
            status,
            retry_after: retry_after.map(|span| span.as_millis().div_ceil(1000).max(1) as u64),
            allow: (outcome == Outcome::MethodNotAllowed).then_some("POST"),
            body,
        };
        let machine = Machine {
            state: State::Ended,
            facts: self,
        };
        let record = logged.then_some(record);
        (machine, Effect::Answer(Box::new((answer, record))))
    }

    fn log(&mut self, outcome: Outcome, now: Timestamp) -> crate::record::Record {
        let spec = outcome.spec();
        let mut record = std::mem::take(&mut self.record);
        // KV takes a key once a second: of two duplicates that race one isn't remembered, and needn't be.
        let uncommitted = record.commit.is_some() && record.store_calls > 0;
        let alarming = record.unknown.is_some() || uncommitted;
        record.level = if alarming { Level::Error } else { spec.level }.name();
        record.code = spec.code;
        record.duration_ms = now.0.saturating_sub(self.received_at.0);
        record
    }
}

impl Hold {
    /// What a parcel says of it.
    fn claimed(&self) -> Option<crate::parcel::Claimed> {
        match *self {
            Self::Object {
                entity,
                event,
                fence,
                ..
            } => Some(claimed(entity, event, fence)),
            Self::Kv { entity, event, .. } => Some(claimed(entity, event, Fence(0))),
            Self::Nothing => None,
        }
    }
}

/// Whether the edge cache may know of it: it is an event, and no round makes another event of the same words.
fn is_cached(pending: &Pending) -> bool {
    matches!(pending.goods, Goods::Event(..)) && !pending.step.life.has_rounds()
}

/// The edge cache answers as the object would: for an event of an entity.
fn cache_key(pending: &Pending) -> String {
    let (EntityKey(entity), EventHash(event)) = (pending.entity, pending.event);
    format!("dup/{}{}", hex(&entity), hex(&event))
}

/// What a dead letter's list entry says. A parcel without a reason was moved by the platform: all attempts failed.
pub(crate) fn letter(
    gateway: &Gateway,
    parcel: Option<&Parcel>,
    sealed: &[u8],
    now: Timestamp,
) -> Letter {
    let kept = Letter {
        id: LetterId::of(sealed),
        code: Reason::MessageUnreadable.code().to_owned(),
        received_at: now,
        kept_at: now,
        expires_at: now.after(gateway.config.letters_kept),
        body_bytes: u32::try_from(sealed.len()).unwrap_or(u32::MAX),
        ..Letter::default()
    };
    let Some(parcel) = parcel else {
        return kept;
    };
    let label = &parcel.label;
    let nonce = parcel.nonce.map_or([0; 16], |nonce| nonce.0);
    Letter {
        // One event, and one redelivery of it, is one letter, however often it was sealed.
        id: parcel.claimed.map_or(kept.id, |claimed| {
            LetterId::of(&[claimed.entity.0, claimed.event.0, nonce].concat())
        }),
        source: parcel.source.clone(),
        code: label
            .reason
            .unwrap_or(Reason::AttemptsUsedUp)
            .code()
            .to_owned(),
        r#type: label.r#type.clone(),
        webhook_id: label.webhook_id.clone(),
        problem: label.problem.clone(),
        path: label.path.clone(),
        received_at: parcel.received_at,
        body_bytes: u32::try_from(parcel.body.len()).unwrap_or(u32::MAX),
        ..kept
    }
}

/// What a customer's queue gets of an event that is too large for a message.
fn reference(key: &str, hash: &[u8; 32], webhook_id: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Reference<'a> {
        rxgate: &'static str,
        namespace: &'static str,
        key: &'a str,
        hash: String,
        webhook_id: &'a str,
    }
    let hash = format!("sha256:{}", hex(hash));
    let reference = Reference {
        rxgate: "reference",
        namespace: crate::config::KV,
        key,
        hash,
        webhook_id,
    };
    crate::json::to_vec(&reference)
}

fn answer_body(
    code: &str,
    reason: Option<&str>,
    event_id: Option<&str>,
    challenge: Option<&str>,
) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        event_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        challenge: Option<&'a str>,
    }
    let body = Body {
        code,
        reason,
        event_id,
        challenge,
    };
    crate::json::to_string(&body)
}
