//! Our own binary forms: what is read is written as it was, and what can be read can be worked with.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rxgate::auth::{KeyId, SealKey, SealKeys, Sealed};
use rxgate::entity::{
    Claim, ClaimRequest, Claimant, Cost, Entity, EventHash, Fence, Layout, Life, Notices, Receipt,
    Reply, Request, Row, Step,
};
use rxgate::letters::Letter;
use rxgate::parcel::Parcel;
use rxgate::time::Timestamp;

use crate::source::NOW;

thread_local! {
    static SEAL: SealKeys = {
        let key = STANDARD.encode([7; 32]);
        SealKeys::new(vec![SealKey::parse(KeyId::new("seal"), &key).unwrap()]).unwrap()
    };
}

/// Which form, then its bytes.
pub fn binary(data: &[u8]) {
    let [form, bytes @ ..] = data else { return };
    match form % 8 {
        0 => {
            if let Ok(request) = Request::unpack(bytes) {
                let packed = request.pack();
                assert_eq!(Request::unpack(&packed).as_ref(), Ok(&request));
                assert_eq!(packed, Request::unpack(&packed).unwrap().pack());
            }
        }
        1 => {
            if let Ok((reply, cost)) = Reply::unpack(bytes) {
                assert_eq!(Reply::unpack(&reply.pack(cost)), Ok((reply, cost)));
            }
            assert!(Reply::unpack(&Reply::Unmet.pack(Cost::default())).is_ok());
        }
        2 => row(bytes),
        3 => {
            if let Some(layout) = Layout::unpack(bytes) {
                assert_eq!(Layout::unpack(&layout.pack()), Some(layout));
                let agreed = layout.agreed(NOW);
                let name = agreed.objects.name(rxgate::entity::EntityKey([7; 16]));
                assert!(name.starts_with("entity-v1-"), "{name}");
            }
        }
        4 => {
            if let Some(letter) = Letter::unpack(bytes) {
                assert_eq!(letter.pack(), bytes);
                assert_eq!(Letter::unpack(&letter.pack()), Some(letter));
            }
        }
        5 => {
            if let Ok(notices) = Notices::unpack(bytes) {
                assert_eq!(notices.pack(), bytes);
            }
        }
        6 => parcel(bytes),
        _ => SEAL.with(|keys| {
            // Nobody makes a seal without the key.
            for what in [
                Sealed::Delivery,
                Sealed::Letter,
                Sealed::Event,
                Sealed::Pointer,
            ] {
                assert!(keys.open(what, bytes).is_err());
            }
        }),
    }
}

/// A parcel is read out of a seal alone.
fn parcel(bytes: &[u8]) {
    SEAL.with(|keys| {
        let open = |plain: &[u8]| {
            let sealed = keys.seal(Sealed::Delivery, [1; 12], &[], plain).unwrap();
            assert!(keys.open(Sealed::Letter, &sealed).is_err());
            let mut broken = sealed.clone();
            *broken.last_mut().unwrap() ^= 1;
            assert!(keys.open(Sealed::Delivery, &broken).is_err());
            keys.open(Sealed::Delivery, &sealed).unwrap()
        };
        let opened = open(bytes);
        assert_eq!(opened.bytes(), bytes);
        if let Some(parcel) = Parcel::read(&opened) {
            let verified = parcel.verified(&opened).unwrap();
            assert_eq!(verified.proof(), &parcel.proof);
            let packed = parcel.pack();
            let again = Parcel::read(&open(&packed)).unwrap();
            assert_eq!(
                (again.body.as_slice(), again.pack()),
                (parcel.body.as_slice(), packed)
            );
        }
    });
}

/// The pages of an entity: after the number of bytes in each, the bytes.
fn row(bytes: &[u8]) {
    let mut pages: Vec<&[u8]> = Vec::new();
    let mut rest = bytes;
    while let [high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (page, after) = after.split_at(length);
        pages.push(page);
        rest = after;
        if pages.len() == 4 {
            break;
        }
    }
    let rows = || {
        pages
            .iter()
            .zip(0..)
            .map(|(packed, number)| Row { number, packed })
    };
    let Ok(mut entity) = Entity::load(rows()) else {
        return;
    };
    let mut other = Entity::load(rows()).unwrap();
    for (round, event) in [EventHash([1; 16]), EventHash([2; 16]), EventHash([1; 16])]
        .into_iter()
        .enumerate()
    {
        let request = ClaimRequest {
            event,
            round: None,
            claimant: Claimant::Sender,
            step: Step {
                rank: 1,
                state: 1,
                at: NOW,
                life: Life::Dispense,
                node: round as u8,
                version: 1,
            },
            lease: Duration::from_secs(60),
            window: Duration::from_secs(3600),
        };
        let now = Timestamp(NOW.0 + round as i64);
        if let Claim::Granted { fence, .. } = entity.claim(&request, now) {
            let settled = if round == 1 {
                entity.release(event, fence, now)
            } else {
                entity
                    .commit(
                        event,
                        fence,
                        Receipt::Delivered,
                        Duration::from_secs(3600),
                        now,
                    )
                    .map(drop)
            };
            assert!(settled.is_ok(), "a lease that was just granted isn't there");
            assert!(
                entity
                    .commit(
                        event,
                        Fence(fence.0.wrapping_sub(1)),
                        Receipt::Delivered,
                        Duration::from_secs(1),
                        now
                    )
                    .is_err()
            );
        }
    }
    other.merge(&entity, NOW);
    let _ = (
        other.leased(NOW),
        other.move_away(Duration::from_secs(60), NOW),
    );
    for mut entity in [entity, other] {
        let saved = entity.save();
        let stored: Vec<Row<'_>> = saved
            .iter()
            .map(|page| Row {
                number: page.number,
                packed: &page.packed,
            })
            .collect();
        assert!(
            Entity::load(stored).is_ok(),
            "what was saved isn't readable"
        );
    }
}
