use super::*;
use crate::sharing::{HELPER, digest, read_pieces};
use subrosa_ring::{Z64, pack};

fn outline(sharing: Sharing) -> Outline {
    let port = |name: &str, n: u32, frac| Port { name: name.to_owned(), shape: vec![1, n], batched: true, frac };
    Outline {
        model: "echo".to_owned(),
        dealing: [1; 32],
        card: [2; 32],
        sharing,
        ring: RingWidth::W64,
        public_weights: false,
        labels_only: false,
        inputs: vec![
            Input { port: port("x", 3, 16), lo: -8.0, hi: 8.0 },
            Input { port: port("y", 1, 8), lo: 0.0, hi: 1.0 },
        ],
        outputs: vec![port("x", 3, 16), port("y", 1, 8)],
    }
}

const INPUTS: [[f32; 6]; 2] = [[1.5, -2.25, 0.0, 7.0, -8.0, 3.125], [0.5, 0.25, 0.0, 0.0, 0.0, 0.0]];

fn inputs() -> Vec<Vec<f32>> {
    vec![INPUTS[0].to_vec(), INPUTS[1][..2].to_vec()]
}

fn keys(outline: &Outline) -> Vec<SealingKey> {
    (0..outline.parties()).map(|_| SealingKey::generate().unwrap()).collect()
}

fn public(keys: &[SealingKey]) -> Vec<[u8; KEY]> {
    keys.iter().map(SealingKey::public).collect()
}

/// What a party would send the receiver if the result were the input.
fn echoed(outline: &Outline, party: usize, messages: &[Vec<u8>], samples: usize) -> Vec<u8> {
    let lens = outline.inputs.iter().map(|i| i.port.sample_len() * samples);
    let each = messages.iter().zip(lens).map(|(message, n)| match outline.sharing {
        Sharing::Rep3 if party == 2 => pack(&vec![0u64; n], 64),
        Sharing::Rep3 => pack(&outline.sharing.stands_for(RingWidth::W64, party, n, message), 64),
        Sharing::Rep3Malicious | Sharing::Rep4 => {
            let pieces = read_pieces::<Z64>(outline.sharing.name(), party, n, message);
            [pack(&pieces[0], 64), digest(&pack(&pieces[1], 64)).to_vec()].concat()
        }
    });
    each.collect::<Vec<_>>().concat()
}

fn refused(result: Result<Opened, Refused>) -> Option<Refused> {
    result.err()
}

#[test]
fn a_request_reaches_the_parties_and_its_answer_the_owner() {
    for sharing in Sharing::ALL {
        let outline = outline(sharing);
        let keys = keys(&outline);
        let (request, asked) = outline.ask(&public(&keys), &inputs()).unwrap();
        assert_eq!((request.len(), asked.samples()), (outline.request_bytes(2), 2));
        let (samples, parcels) = outline.parcels(&request, 2).unwrap();
        let mut boxes = Vec::new();
        let mut agreements = Vec::new();
        for (party, parcel) in parcels.iter().enumerate() {
            assert_eq!(parcel.len(), outline.parcel_bytes(party, samples));
            let opened = outline.open(party, samples, parcel, &keys[party]).unwrap();
            let expected = if party < HELPER { 2 } else { 0 };
            assert_eq!(opened.messages.len(), expected, "{sharing:?} {party}");
            agreements.push(opened.agreement);
            boxes.push(opened.owed.seal(&echoed(&outline, party, &opened.messages, samples)).unwrap());
            assert_eq!(boxes[party].len(), outline.answer_bytes(party, samples));
        }
        assert!(agreements.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(asked.read(&outline, &answer(&boxes)).unwrap(), inputs(), "{sharing:?}");
    }
}

#[test]
fn no_box_opens_elsewhere_or_changed() {
    let outline = outline(Sharing::Rep3);
    let keys = keys(&outline);
    let (request, _) = outline.ask(&public(&keys), &inputs()).unwrap();
    let (samples, parcels) = outline.parcels(&request, 9).unwrap();
    let open = |party: usize, samples, parcel: &[u8]| outline.open(party, samples, parcel, &keys[party]);
    // Each for one party alone.
    for party in 0..3 {
        for other in (0..3).filter(|&other| other != party) {
            assert_eq!(refused(open(party, samples, &parcels[other])), Some(Refused::Closed));
            let theirs = outline.open(party, samples, &parcels[party], &keys[other]);
            assert_eq!(refused(theirs), Some(Refused::Closed));
        }
    }
    // For one count, one dealing, one card, one encoding.
    assert_eq!(refused(open(0, samples + 1, &parcels[0])), Some(Refused::Closed));
    let changes: [fn(&mut Outline); 6] = [
        |o| o.model.push('x'),
        |o| o.dealing[31] ^= 1,
        |o| o.card[0] ^= 1,
        |o| o.labels_only = true,
        |o| o.inputs[0].port.frac += 1,
        |o| o.inputs[1].hi = 2.0,
    ];
    for change in changes {
        let mut other = outline.clone();
        change(&mut other);
        assert_eq!(refused(other.open(0, samples, &parcels[0], &keys[0])), Some(Refused::Closed));
    }
    // Every bit counts, the other parties' keys among them, and every byte has to be there.
    for at in 0..parcels[1].len() {
        let mut changed = parcels[1].clone();
        changed[at] ^= 0x40;
        assert_eq!(refused(open(1, samples, &changed)), Some(Refused::Closed), "byte {at}");
        assert_eq!(refused(open(1, samples, &parcels[1][..at])), Some(Refused::Closed), "{at} bytes");
    }
}

#[test]
fn boxes_of_two_requests_are_told_apart_and_one_that_comes_again_is_known() {
    let outline = outline(Sharing::Rep3Malicious);
    let keys = keys(&outline);
    let open = |party: usize, request: &[u8]| {
        let (samples, parcels) = outline.parcels(request, 9).unwrap();
        outline.open(party, samples, &parcels[party], &keys[party]).unwrap()
    };
    let (one, _) = outline.ask(&public(&keys), &inputs()).unwrap();
    let (two, _) = outline.ask(&public(&keys), &inputs()).unwrap();
    assert_ne!(open(0, &one).agreement, open(1, &two).agreement);
    assert_eq!(open(0, &one).agreement, open(1, &one).agreement);
    assert_eq!(open(0, &one).name, open(0, &one).name);
    assert_ne!(open(0, &one).name, open(0, &two).name);
    // A box under another request's keys does not open.
    let (samples, mut parcels) = outline.parcels(&one, 9).unwrap();
    let (_, others) = outline.parcels(&two, 9).unwrap();
    let mixed = [&others[0][..3 * ENCAPSULATED], &parcels.remove(0)[3 * ENCAPSULATED..]].concat();
    assert_eq!(refused(outline.open(0, samples, &mixed, &keys[0])), Some(Refused::Closed));
}

#[test]
fn what_a_relay_makes_of_a_request_or_an_answer_is_noticed() {
    let outline = outline(Sharing::Rep4);
    let keys = keys(&outline);
    let ask = || outline.ask(&public(&keys), &inputs()).unwrap();
    let (request, _) = ask();
    for length in 0..request.len() {
        assert!(outline.parcels(&request[..length], 9).is_err(), "{length} bytes");
    }
    assert!(outline.parcels(&[request.as_slice(), &[0]].concat(), 9).is_err());
    assert!(outline.parcels(&request, 1).is_err(), "more samples than are allowed");
    for count in [0u32, 1, 3, u32::MAX] {
        let mut other = request.clone();
        other[8..12].copy_from_slice(&count.to_le_bytes());
        assert!(outline.parcels(&other, usize::MAX).is_err(), "{count} samples");
    }
    let answered = || {
        let (request, asked) = ask();
        let (samples, parcels) = outline.parcels(&request, 9).unwrap();
        let boxes: Vec<Vec<u8>> = (0..4)
            .map(|party| {
                let opened = outline.open(party, samples, &parcels[party], &keys[party]).unwrap();
                opened.owed.seal(&echoed(&outline, party, &opened.messages, samples)).unwrap()
            })
            .collect();
        (asked, boxes)
    };
    let (asked, boxes) = answered();
    let (other, _) = answered();
    assert_eq!(other.read(&outline, &answer(&boxes)), Err(Fault::Answer(0)));
    let short = answer(&boxes[..3]);
    assert!(matches!(asked.read(&outline, &short), Err(Fault::Length { got, .. }) if got == short.len()));
    let (asked, boxes) = answered();
    let mut changed = answer(&boxes);
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(asked.read(&outline, &changed), Err(Fault::Answer(3)));
    // A party that sends the receiver something else is contradicted by the one that vouches for it.
    let (request, asked) = ask();
    let (samples, parcels) = outline.parcels(&request, 9).unwrap();
    let mut boxes = Vec::new();
    for (party, parcel) in parcels.iter().enumerate() {
        let opened = outline.open(party, samples, parcel, &keys[party]).unwrap();
        let mut said = echoed(&outline, party, &opened.messages, samples);
        if party == 1 {
            said[0] ^= 1;
        }
        boxes.push(opened.owed.seal(&said).unwrap());
    }
    assert_eq!(asked.read(&outline, &answer(&boxes)), Err(Fault::Contradicted { sender: 1, by: 2 }));
}

#[test]
fn inputs_that_do_not_fit_are_refused_by_position() {
    let outline = outline(Sharing::Rep3);
    let keys = public(&keys(&outline));
    let refused = |inputs: &[Vec<f32>]| outline.ask(&keys, inputs).err().unwrap().to_string();
    let mut outside = inputs();
    outside[0][4] = 9.0;
    assert!(refused(&outside).contains("input 0, sample 1, position 1: the value is outside the range -8..8"));
    outside[0][4] = f32::NAN;
    assert!(refused(&outside).contains("outside"));
    assert!(refused(&inputs()[..1]).contains("[3, 1]"));
    assert!(refused(&[vec![], vec![]]).contains("[3, 1]"));
    assert!(refused(&[vec![0.0; 3], vec![0.0; 2]]).contains("[3, 1]"));
    assert!(outline.ask(&keys[..2], &inputs()).is_err());
    assert!(matches!(outline.ask(&[[0; KEY]; 3], &inputs()), Err(Fault::Seal(SealError::Key))));
}

#[test]
fn damaged_outlines_are_refused_or_harmless() {
    let bytes = outline(Sharing::Rep4).encode().unwrap();
    assert_eq!(Outline::decode(&bytes).unwrap(), outline(Sharing::Rep4));
    for length in 0..bytes.len() {
        assert!(Outline::decode(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(Outline::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
    for at in 0..bytes.len() {
        for change in [1u8, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= change;
            let Ok(read) = Outline::decode(&damaged) else { continue };
            // Whatever it says, lengths fit.
            for samples in [1, 2, 1 << 16, usize::MAX] {
                let possible = read.holds(samples);
                assert!(!possible || read.request_bytes(samples) < 1 << 31);
                assert!(read.parcels(&bytes, samples).is_err());
            }
        }
    }
    let mut endless = outline(Sharing::Rep3);
    endless.inputs[0].port.shape = vec![u32::MAX, u32::MAX, u32::MAX];
    assert!(endless.encode().is_err());
    endless.inputs.clear();
    assert!(endless.encode().is_err());
}

#[test]
fn what_a_party_is_told_is_shown_and_looks_the_same_for_no_two_requests() {
    let outline = outline(Sharing::Rep3);
    let keys = public(&keys(&outline));
    let told = |party| outline.ask(&keys, &inputs()).unwrap().1.told(&outline, party);
    assert_eq!((told(0).len(), told(1).len(), told(2).len()), (6, 6, 0));
    assert_ne!(told(0), told(0));
    assert_ne!(told(1), told(1));
}

#[test]
fn reasons_have_numbers() {
    for reason in Refused::ALL {
        assert_eq!(Refused::numbered(reason.number()), Some(reason));
    }
    assert_eq!((Refused::numbered(0), Refused::numbered(7)), (None, None));
}
