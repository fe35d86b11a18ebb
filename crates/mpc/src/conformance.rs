//! The suite every protocol passes: values, declared cost against the meter, uniform
//! messages.
//!
//! Instantiate it with [`protocol_conformance!`](crate::protocol_conformance), and
//! [`protocol_cheater!`](crate::protocol_cheater) where the claim is malicious; `tests/` of this
//! crate does for every protocol and ring.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test suite fails by panicking")]

pub mod cheater;

use crate::protocol::{Evaluator, Form, Linear, Primitive, Protocol, Source, WordOf};
use crate::{Error, dry::Dry};
use std::collections::BTreeMap;
use std::time::Duration;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_core::{Cost, Meter, Phase, Prg, Seed};
use subrosa_ring::{Ring, Word, sign_extend};

/// Makes a test module out of the suite for one protocol type.
#[macro_export]
macro_rules! protocol_conformance {
    ($name:ident, $protocol:ty) => {
        mod $name {
            use super::*;
            use $crate::conformance as suite;
            $crate::protocol_conformance!(@tests $protocol;
                sharing parts linear products kept_factors matrix_products convolutions truncation truncation_of_a_million comparison relu truncated_relu
                preprocessing_is_bound_to_its_primitive messages_are_uniform other_seeds_other_messages empty_vectors
            );
        }
    };
    (@tests $protocol:ty; $($test:ident)*) => {
        $(#[test]
        fn $test() {
            suite::$test::<$protocol>();
        })*
    };
}

/// Makes a test module out of [`cheater`] for one protocol type.
#[macro_export]
macro_rules! protocol_cheater {
    ($name:ident, $protocol:ty) => {
        mod $name {
            use super::*;
            use $crate::conformance::cheater as suite;
            $crate::protocol_conformance!(@tests $protocol; at_every_message to_everybody too_late);
        }
    };
}

/// What one run of all parties gave.
struct Trial {
    outputs: Vec<Vec<i64>>,
    offline: Cost,
    online: Cost,
    /// What each party sent to each endpoint, offline and online.
    sent: BTreeMap<(usize, usize), Vec<u8>>,
}

fn k<P: Protocol>() -> u32 {
    P::Ring::WIDTH.bits()
}

fn words<P: Protocol>(values: &[i64]) -> Vec<WordOf<P>> {
    values.iter().map(|&v| Word::from_i64(v)).collect()
}

/// Runs `body`, which calls `calls`, at every party on shares of `inputs` and opens what it
/// returns: vectors of lengths `opens`.
fn trial<P: Protocol>(
    inputs: &[Vec<i64>],
    calls: &[Primitive],
    opens: &[usize],
    body: impl Fn(&mut P, &[P::Share]) -> Result<Vec<P::Product>, Error> + Sync,
) -> Trial {
    rehearsed::<P>(1, inputs, &demand(1, inputs, calls, opens), &body, &body)
}

/// All that a run calls: inputs in so many parts each, `calls`, openings.
fn demand(parts: usize, inputs: &[Vec<i64>], calls: &[Primitive], opens: &[usize]) -> Vec<Primitive> {
    let inputs = inputs.iter().map(move |x| Primitive::Input { parts, n: x.len() / parts });
    inputs
        .chain(calls.iter().copied())
        .chain(opens.iter().map(move |&n| Primitive::OpenTo { parts, n: n / parts }))
        .collect()
}

/// As [`trial`], of inputs in so many parts, prepared with `rehearsal` instead of `body`.
fn rehearsed<P: Protocol>(
    parts: usize,
    inputs: &[Vec<i64>],
    demand: &[Primitive],
    rehearsal: &(impl Fn(&mut P, &[P::Share]) -> Result<Vec<P::Product>, Error> + Sync),
    body: &(impl Fn(&mut P, &[P::Share]) -> Result<Vec<P::Product>, Error> + Sync),
) -> Trial {
    let names: Vec<String> = (0..P::PARTIES + 2).map(|i| format!("endpoint {i}")).collect();
    let mut sessions = subrosa_net::local(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut roles = sessions.split_off(P::PARTIES);
    let (mut receiver, mut owner) = (roles.pop().unwrap(), roles.pop().unwrap());
    std::thread::scope(|scope| {
        let run = |mut session: subrosa_net::Session| {
            session.set_phase(Phase::Setup);
            let mut party = P::setup(session).unwrap();
            assert_eq!(party.session().meter().cost(Phase::Setup).rounds, P::setup_cost().rounds);
            party.session().record_transcript();
            party.session().set_phase(Phase::Offline);
            let input = |party: &mut P| -> Vec<P::Share> {
                inputs.iter().map(|x| party.input(P::PARTIES, parts, x.len() / parts).unwrap()).collect()
            };
            let rehearse = |party: &mut P| {
                let shares = input(party);
                rehearsal(party, &shares)?.iter().try_for_each(|x| party.open_to(P::PARTIES + 1, parts, x))
            };
            party.prepare(demand, rehearse).unwrap();
            party.session().set_phase(Phase::Online);
            let shares = input(&mut party);
            let outputs = body(&mut party, &shares).unwrap();
            outputs.iter().for_each(|x| party.open_to(P::PARTIES + 1, parts, x).unwrap());
            let lens: Vec<usize> = outputs.iter().map(Linear::len).collect();
            let session = party.session();
            let mut sent: BTreeMap<_, Vec<u8>> = BTreeMap::new();
            for (to, message) in session.transcript() {
                sent.entry((session.id(), *to)).or_default().extend(message);
            }
            (lens, session.meter().clone(), sent)
        };
        let threads: Vec<_> = sessions.into_iter().map(|s| scope.spawn(move || run(s))).collect();
        owner.set_phase(Phase::Online);
        receiver.set_phase(Phase::Online);
        for input in inputs {
            let told: Vec<_> = (0..P::ONLINE).map(|party| (party, P::TOLD_BYTES)).collect();
            let told = if P::TOLD_BYTES == 0 {
                vec![]
            } else {
                owner.control(vec![], &told, Duration::from_secs(30)).unwrap()
            };
            let mut dealt = vec![Vec::new(); P::PARTIES];
            for part in input.chunks((input.len() / parts).max(1)) {
                let messages = P::deal_told(&words::<P>(part), &told).unwrap();
                dealt.truncate(messages.len());
                dealt.iter_mut().zip(messages).for_each(|(all, message)| all.extend(message));
            }
            owner.round(dealt.into_iter().enumerate().collect(), &[]).unwrap();
        }
        let results: Vec<_> = threads.into_iter().map(|t| t.join().expect("a party failed")).collect();
        let lens = &results[0].0;
        let open = |&all: &usize| {
            let n = all / parts;
            let each = P::opening_bytes(n);
            let expected: Vec<_> = (0..P::ONLINE).map(|p| (p, each * parts)).collect();
            let messages = if n == 0 { vec![vec![]; P::ONLINE] } else { receiver.round(vec![], &expected).unwrap() };
            let part = |at: usize| -> Vec<Vec<u8>> {
                messages.iter().map(|m| m.chunks(each.max(1)).nth(at).unwrap_or(&[]).to_vec()).collect()
            };
            let opened = |at| P::reconstruct(n, &part(at)).unwrap();
            (0..parts).flat_map(opened).map(|w| sign_extend(w, k::<P>())).collect()
        };
        let outputs = lens.iter().map(open).collect();
        let meters: Vec<Meter> = results.iter().map(|r| r.1.clone()).chain([owner.meter().clone()]).collect();
        Trial {
            outputs,
            offline: Meter::combine(Phase::Offline, &meters),
            online: Meter::combine(Phase::Online, &meters),
            sent: results.into_iter().flat_map(|r| r.2).collect(),
        }
    })
}

/// As [`trial`], with the declared cost held against the meter.
fn priced<P: Protocol>(
    inputs: &[Vec<i64>],
    calls: &[Primitive],
    opens: &[usize],
    body: impl Fn(&mut P, &[P::Share]) -> Result<Vec<P::Product>, Error> + Sync,
) -> Vec<Vec<i64>> {
    priced_parts::<P>(1, inputs, calls, opens, body)
}

/// The same, of inputs in so many parts.
fn priced_parts<P: Protocol>(
    parts: usize,
    inputs: &[Vec<i64>],
    calls: &[Primitive],
    opens: &[usize],
    body: impl Fn(&mut P, &[P::Share]) -> Result<Vec<P::Product>, Error> + Sync,
) -> Vec<Vec<i64>> {
    let all = demand(parts, inputs, calls, opens);
    let got = rehearsed::<P>(parts, inputs, &all, &body, &body);
    assert_eq!(got.offline, P::offline_cost(&all), "offline cost of {calls:?}");
    assert_eq!(got.online, all.iter().map(P::online_cost).sum(), "online cost of {calls:?}");
    got.outputs
}

/// `n` values of `bits` signed bits: the extremes, values near zero, then random ones.
fn samples(bits: u32, n: usize, seed: u8) -> Vec<i64> {
    let (lo, hi) = (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1);
    let edges = [lo, hi, 0, -1, 1, lo + 1, hi - 1, lo / 2, hi / 2];
    let edges = edges.into_iter().filter(|v| (lo..=hi).contains(v)).map(|v| v as i64);
    let random = prg(seed).u64s(n).into_iter().map(|v| sign_extend(v, bits));
    edges.chain(random).take(n).collect()
}

fn prg(seed: u8) -> Prg {
    Seed::from_bytes([seed; 32]).stream("conformance")
}

fn wrap<P: Protocol>(v: i128) -> i64 {
    sign_extend(v as u64, k::<P>())
}

const SIZES: [usize; 5] = [1, 7, 64, 65, 1000];

/// Shared, opened: the same, at every size and at the ring's extremes.
pub fn sharing<P: Protocol>() {
    for n in SIZES {
        let x = samples(k::<P>(), n, 1);
        let got = priced::<P>(std::slice::from_ref(&x), &[], &[n], |p, s| Ok(vec![p.to_product(&s[0])]));
        assert_eq!(got, [x]);
    }
}

/// What came in parts, each dealt by itself, is one vector, and is opened part by part.
pub fn parts<P: Protocol>() {
    // Whoever is told masks is one person.
    let counts = if P::TOLD_BYTES == 0 { vec![1, 2, 5] } else { vec![1] };
    for (parts, n) in counts.into_iter().flat_map(|parts| SIZES.map(|n| (parts, n))) {
        let x = samples(k::<P>(), parts * n, 1);
        let same = |p: &mut P, s: &[P::Share]| Ok(vec![p.to_product(&s[0])]);
        let got = priced_parts::<P>(parts, std::slice::from_ref(&x), &[], &[parts * n], same);
        assert_eq!(got.concat(), x, "{parts} parts of {n}");
    }
}

/// Sums, differences, linear maps and public values are local and right.
pub fn linear<P: Protocol>() {
    let (x, y) = (samples(k::<P>(), 100, 1), samples(k::<P>(), 100, 2));
    let got = priced::<P>(&[x.clone(), y.clone()], &[], &[100; 4], |p, s| {
        let public = p.public(&words::<P>(&x));
        let tripled = s[0].map(100, |v| v.iter().map(|&v| v.mul(Word::from_i64(3))).collect());
        let results = [s[0].add(&s[1]), s[0].sub(&s[1]), public.add(&s[1]), tripled];
        Ok(results.iter().map(|r| p.to_product(r)).collect())
    });
    for i in 0..100 {
        let (x, y) = (i128::from(x[i]), i128::from(y[i]));
        let expected = [x + y, x - y, x + y, 3 * x].map(wrap::<P>);
        assert_eq!([got[0][i], got[1][i], got[2][i], got[3][i]], expected);
    }
}

/// Products, opened directly and after resharing.
pub fn products<P: Protocol>() {
    for n in SIZES {
        let (x, y) = (samples(k::<P>(), n, 3), samples(k::<P>(), n, 4));
        let calls = [Primitive::Mul { n }, Primitive::Reshare { n }];
        let got = priced::<P>(&[x.clone(), y.clone()], &calls, &[n; 2], |p, s| {
            let z = p.mul(&s[0], &s[1])?;
            let reshared = p.reshare(&z)?;
            Ok(vec![z, p.to_product(&reshared)])
        });
        let expected: Vec<i64> = x.iter().zip(&y).map(|(&x, &y)| wrap::<P>(i128::from(x) * i128::from(y))).collect();
        assert_eq!(got, [expected.clone(), expected]);
    }
}

/// Products and sums with what was dealt before the preprocessing, on either side and on
/// both.
pub fn kept_factors<P: Protocol>() {
    for n in SIZES {
        let (x, w) = (samples(k::<P>(), n, 9), samples(k::<P>(), n, 10));
        let kept = P::deal_kept(&words::<P>(&w)).unwrap();
        let lens: Vec<usize> = (0..P::PARTIES).map(|party| P::dealt_bytes(party, n)).collect();
        assert_eq!(kept.iter().map(Vec::len).collect::<Vec<_>>(), lens);
        let calls = [Primitive::Mul { n }, Primitive::Mul { n }, Primitive::Mul { n }, Primitive::Reshare { n }];
        let got = priced::<P>(std::slice::from_ref(&x), &calls, &[n; 4], |p, s| {
            let me = p.session().id();
            let w = p.dealt(n, &kept[me]);
            let results = [p.mul(&s[0], &w)?, p.mul(&w, &s[0])?, p.mul(&w, &w)?];
            let biased = results[0].add(&p.to_product(&w)).sub(&p.to_product(&s[0]));
            let reshared = p.reshare(&biased)?;
            let [right, left, both] = results;
            Ok(vec![right, left, both, p.to_product(&reshared.add(&w))])
        });
        for (i, (&x, &w)) in x.iter().zip(&w).enumerate() {
            let (x, w) = (i128::from(x), i128::from(w));
            let expected = [x * w, x * w, w.wrapping_mul(w), (x * w).wrapping_add(2 * w - x)].map(wrap::<P>);
            assert_eq!([got[0][i], got[1][i], got[2][i], got[3][i]], expected);
        }
    }
}

/// Matrix products with one right operand for all samples, and with one each.
pub fn matrix_products<P: Protocol>() {
    for (batch, dims, own) in [
        (3, MatDims { groups: 1, m: 2, k: 5, n: 4 }, false),
        (2, MatDims { groups: 3, m: 2, k: 4, n: 3 }, true),
        (1, MatDims { groups: 1, m: 1, k: 33, n: 10 }, false),
    ] {
        let matrices = if own { batch * dims.groups } else { 1 };
        let x = samples(k::<P>(), batch * dims.groups * dims.m * dims.k, 5);
        let y = samples(k::<P>(), matrices * dims.k * dims.n, 6);
        let calls = [Primitive::MatMul { batch, dims, matrices }];
        let out = batch * dims.groups * dims.m * dims.n;
        let multiply = |p: &mut P, s: &[P::Share]| Ok(vec![p.matmul(batch, dims, &s[0], &s[1])?]);
        let got = priced::<P>(&[x.clone(), y.clone()], &calls, &[out], multiply);
        let mut expected = Vec::new();
        for g in 0..batch * dims.groups {
            let (x, y) = (&x[g * dims.m * dims.k..], &y[if own { g * dims.k * dims.n } else { 0 }..]);
            for (i, j) in (0..dims.m).flat_map(|i| (0..dims.n).map(move |j| (i, j))) {
                let dot =
                    (0..dims.k).map(|t| i128::from(x[i * dims.k + t]).wrapping_mul(i128::from(y[t * dims.n + j])));
                expected.push(wrap::<P>(dot.fold(0i128, i128::wrapping_add)));
            }
        }
        assert_eq!(got[0], expected, "{dims:?}");
    }
}

/// A strided, padded, grouped convolution against sums written out.
pub fn convolutions<P: Protocol>() {
    let geometry = ConvGeometry {
        c: 4,
        input: (5, 6),
        o: 6,
        output: (3, 3),
        kernel: (3, 2),
        strides: (2, 2),
        dilations: (1, 1),
        pads: (1, 0),
        groups: 2,
    };
    let batch = 2;
    let x = samples(k::<P>(), batch * 4 * 30, 7);
    let w = samples(k::<P>(), 6 * 2 * 6, 8);
    let calls = [Primitive::Conv { batch, geometry }];
    let convolve = |p: &mut P, s: &[P::Share]| Ok(vec![p.conv(batch, &geometry, &s[0], &s[1])?]);
    let got = priced::<P>(&[x.clone(), w.clone()], &calls, &[batch * 6 * 9], convolve);
    let mut expected = Vec::new();
    for (s, o) in (0..batch).flat_map(|s| (0..6).map(move |o| (s, o))) {
        for (oy, ox) in (0..3).flat_map(|y| (0..3).map(move |x| (y, x))) {
            let mut sum = 0i128;
            for (c, ky, kx) in (0..2).flat_map(|c| (0..3).flat_map(move |y| (0..2).map(move |x| (c, y, x)))) {
                let (Some(y), xx) = ((2usize * oy + ky).checked_sub(1).filter(|&y| y < 5), 2 * ox + kx) else {
                    continue;
                };
                let at = ((s * 4 + o / 3 * 2 + c) * 5 + y) * 6 + xx;
                sum = sum.wrapping_add(i128::from(x[at]).wrapping_mul(i128::from(w[(o * 2 + c) * 6 + ky * 2 + kx])));
            }
            expected.push(wrap::<P>(sum));
        }
    }
    assert_eq!(got[0], expected);
}

/// At every shift and over the whole claimed range: the floor, or one more. Both forms.
pub fn truncation<P: Protocol>() {
    let bits = k::<P>() - 1;
    for shift in 1..=k::<P>() - 2 {
        let x = samples(bits, 300, shift as u8);
        let (n, ones) = (x.len(), vec![1; x.len()]);
        let calls = [
            Primitive::Trunc { n, shift, form: Form::Share },
            Primitive::Mul { n },
            Primitive::Trunc { n, shift, form: Form::Product },
        ];
        let got = priced::<P>(&[x.clone(), ones], &calls, &[n; 2], |p, s| {
            let first = p.trunc(Source::Share(&s[0]), shift)?;
            let product = p.mul(&s[0], &s[1])?;
            let second = p.trunc(Source::Product(&product), shift)?;
            Ok(vec![p.to_product(&first), p.to_product(&second)])
        });
        for (i, &x) in x.iter().enumerate() {
            let floor = x >> shift;
            for got in &got {
                assert!((floor..=floor + 1).contains(&got[i]), "{x} >> {shift}: {} instead of {floor}", got[i]);
            }
        }
    }
}

/// A million values of the whole claimed range: none is wrong by more than one unit, and the
/// mean of the rounding is the value itself.
pub fn truncation_of_a_million<P: Protocol>() {
    let (n, shift) = (1 << 20, 12);
    let x = samples(k::<P>() - 1, n, 42);
    let calls = [Primitive::Trunc { n, shift, form: Form::Share }];
    let got = priced::<P>(std::slice::from_ref(&x), &calls, &[n], |p, s| {
        let y = p.trunc(Source::Share(&s[0]), shift)?;
        Ok(vec![p.to_product(&y)])
    });
    let mut bias = 0f64;
    for (x, got) in x.iter().zip(&got[0]) {
        let floor = x >> shift;
        assert!((floor..=floor + 1).contains(got), "{x} >> {shift}: {got} instead of {floor}");
        bias += (got - floor) as f64 - (x - (floor << shift)) as f64 / f64::from(1 << shift);
    }
    // Each term has a standard deviation of at most one half; six deviations of the sum.
    let limit = 6.0 * 0.5 * (n as f64).sqrt();
    assert!(bias.abs() < limit, "the roundings add up to {bias:.0}, beyond {limit:.0}");
}

/// At every width, exact, the extremes included.
pub fn comparison<P: Protocol>() {
    for width in 1..=k::<P>() {
        let x = samples(width, 200, width as u8);
        let n = x.len();
        let got = priced::<P>(std::slice::from_ref(&x), &[Primitive::Ltz { n, width }], &[n], |p, s| {
            let bit = p.ltz(&s[0], width)?;
            Ok(vec![p.to_product(&bit)])
        });
        let expected: Vec<i64> = x.iter().map(|&x| i64::from(x < 0)).collect();
        assert_eq!(got[0], expected, "width {width}");
    }
}

/// `max(x, 0)` at every width and several sizes.
pub fn relu<P: Protocol>() {
    for (width, n) in (1..=k::<P>()).zip(SIZES.into_iter().cycle()) {
        let x = samples(width, n, width as u8);
        let n = x.len();
        let got = priced::<P>(std::slice::from_ref(&x), &[Primitive::Relu { n, width }], &[n], |p, s| {
            let y = p.relu(&s[0], width)?;
            Ok(vec![p.to_product(&y)])
        });
        let expected: Vec<i64> = x.iter().map(|&x| x.max(0)).collect();
        assert_eq!(got[0], expected, "width {width}");
    }
}

/// Two relus, one after the other, of `n` values.
pub fn relu_of_many<P: Protocol>(n: usize) {
    let width = k::<P>() - 2;
    let x = samples(width - 1, n, 11);
    let calls = [Primitive::Relu { n, width }; 2];
    let got = priced::<P>(std::slice::from_ref(&x), &calls, &[n], |p, s| {
        let once = p.relu(&s[0], width)?;
        let twice = p.relu(&once.sub(&s[0]), width)?;
        Ok(vec![p.to_product(&twice)])
    });
    // max(max(x, 0) - x, 0)
    let expected: Vec<i64> = x.iter().map(|&x| (-x).max(0)).collect();
    assert_eq!(got[0], expected);
}

/// Fused truncation and relu, both forms, over the widths a shift allows.
pub fn truncated_relu<P: Protocol>() {
    let k = k::<P>();
    for shift in (1..k - 3).step_by(3) {
        for width in [2, (k - 1 - shift) / 2 + 1, k - 1 - shift] {
            // `width` bits hold the truncated value plus one.
            let x: Vec<i64> = samples(shift + width, 150, shift as u8)
                .into_iter()
                .map(|x| x.min((1 << (shift + width - 1)) - (1 << shift) - 1))
                .collect();
            let (n, ones) = (x.len(), vec![1; x.len()]);
            let calls = [
                Primitive::TruncRelu { n, shift, width, form: Form::Share },
                Primitive::Mul { n },
                Primitive::TruncRelu { n, shift, width, form: Form::Product },
            ];
            let got = priced::<P>(&[x.clone(), ones], &calls, &[n; 2], |p, s| {
                let first = p.trunc_relu(Source::Share(&s[0]), shift, width)?;
                let product = p.mul(&s[0], &s[1])?;
                let second = p.trunc_relu(Source::Product(&product), shift, width)?;
                Ok(vec![p.to_product(&first), p.to_product(&second)])
            });
            for (i, &x) in x.iter().enumerate() {
                let floor = x >> shift;
                for got in &got {
                    let fine = got[i] == floor.max(0) || got[i] == (floor + 1).max(0);
                    assert!(fine, "relu({x} >> {shift}), width {width}: {}", got[i]);
                }
            }
        }
    }
}

/// Fused truncation and relu at both ends of what `width` bits hold, the upper one a multiple of
/// `2^shift`, up to `shift + width = k`: for protocols that claim so much. Multiples of `2^shift` are exact.
pub fn truncated_relu_at_its_edges<P: Protocol>() {
    let k = k::<P>();
    for shift in [1, 2, 7, k / 2, k - 3] {
        for width in (1..=k - shift).filter(|w| shift > 2 || w % 5 < 2 || w + shift == k) {
            let (unit, end) = (1i64 << shift, 1i128 << (shift + width - 1));
            let (lo, hi) = (-end as i64, (end - i128::from(unit)) as i64);
            let edges = [lo, lo + 1, lo + unit - 1, hi, hi - 1, hi - unit, 0, 1, -1, unit - 1, unit, -unit, hi / 2];
            let inside = edges.into_iter().filter(|x| (lo..=hi).contains(x));
            // Each under many masks.
            let x: Vec<i64> = inside.flat_map(|x| [x; 24]).collect();
            let n = x.len();
            let calls = [Primitive::TruncRelu { n, shift, width, form: Form::Share }];
            let got = priced::<P>(std::slice::from_ref(&x), &calls, &[n], |p, s| {
                let y = p.trunc_relu(Source::Share(&s[0]), shift, width)?;
                Ok(vec![p.to_product(&y)])
            });
            for (&x, &got) in x.iter().zip(&got[0]) {
                let (floor, exact) = (x >> shift, x % unit == 0);
                let fine = got == floor.max(0) || !exact && got == (floor + 1).max(0);
                assert!(fine, "relu({x} >> {shift}), width {width}: {got}");
            }
        }
    }
}

/// Preprocessing is consumed, and serves only the primitive it was made for: otherwise a
/// mask could be used twice, or be narrower than what it hides. A refusal comes before
/// anything is sent, and what was made is not used afterwards.
pub fn preprocessing_is_bound_to_its_primitive<P: Protocol>() {
    let x = samples(8, 10, 1);
    let made = Primitive::Ltz { n: 10, width: 8 };
    if P::offline_cost(&[made]) == Cost::FREE {
        return;
    }
    type Call<P> = fn(&mut P, &<P as Evaluator>::Share) -> Result<<P as Evaluator>::Share, Error>;
    let others: [Call<P>; 5] = [
        |p, x| p.ltz(x, 9),
        |p, x| p.relu(x, 7),
        |p, x| p.trunc(Source::Share(x), 3),
        |p, x| p.ltz(&x.map(9, |v| v[..9].to_vec()), 8),
        |p, x| p.ltz(&x.map(11, |v| [v, &v[..1]].concat()), 8),
    ];
    let twice = |p: &mut P, s: &[P::Share]| {
        p.ltz(&s[0], 8)?;
        p.ltz(&s[0], 8)?;
        Ok(vec![])
    };
    for other in others {
        rehearsed::<P>(
            1,
            std::slice::from_ref(&x),
            &demand(1, std::slice::from_ref(&x), &[made, made], &[]),
            &twice,
            &|p, s| {
                let before = p.session().meter().cost(Phase::Online);
                assert!(matches!(other(p, &s[0]), Err(Error::Misuse(_))), "preprocessing served another primitive");
                assert!(matches!(p.ltz(&s[0], 8), Err(Error::Misuse(_))), "preprocessing was used after a refusal");
                assert_eq!(p.session().meter().cost(Phase::Online), before, "a refused primitive sent something");
                Ok(vec![])
            },
        );
    }
    let once = |p: &mut P, s: &[P::Share]| p.ltz(&s[0], 8).map(|_| vec![]);
    let all = demand(1, std::slice::from_ref(&x), &[made], &[]);
    rehearsed::<P>(1, &[x], &all, &once, &|p, s| {
        p.ltz(&s[0], 8)?;
        assert!(matches!(p.ltz(&s[0], 8), Err(Error::Misuse(_))), "the same preprocessing was used twice");
        Ok(vec![])
    });
}

/// A run of everything on the same input `value`.
fn everything<P: Protocol>(value: i64, n: usize) -> Trial {
    let (shift, width) = (4, 9);
    let mut dry = Dry::<P::Ring>::default();
    use_all(&mut dry, &crate::dry::Length::of(n), shift, width).unwrap();
    let calls = dry.into_calls();
    trial::<P>(&[vec![value; n]], &calls, &[n; 5], |p, s| use_all(p, &s[0], shift, width))
}

fn use_all<P: Evaluator>(p: &mut P, x: &P::Share, shift: u32, width: u32) -> Result<Vec<P::Product>, Error> {
    let square = p.mul(x, x)?;
    let truncated = p.trunc(Source::Product(&square), shift)?;
    let both = p.trunc_relu(Source::Product(&square), shift, width)?;
    let rectified = p.relu(&truncated, width)?;
    let bit = p.ltz(&both, width)?;
    let reshared = p.reshare(&square)?;
    Ok([truncated, both, rectified, bit, reshared].iter().map(|x| p.to_product(x)).collect())
}

/// Whatever the input, the bytes on every link are uniform (one link at a time; what a view
/// says *together* is tested by each protocol, as in `masked/leak_tests.rs`): chi-squared over their values,
/// and over the differences of bytes some way apart (a mask used twice would show).
pub fn messages_are_uniform<P: Protocol>() {
    for value in [0, -1, 5] {
        // A multiple of eight, so that no message ends in padding bits.
        for (link, sent) in everything::<P>(value, 1 << 13).sent {
            let apart = |lag: usize| sent.iter().zip(sent.iter().skip(lag)).map(|(a, b)| a.wrapping_sub(*b)).collect();
            for bytes in [sent.clone(), apart(1), apart(1 << 10), apart(1 << 15)] {
                // Of a few digests a distribution says nothing.
                if bytes.len() < MANY_BYTES {
                    continue;
                }
                let chi2 = chi_squared(&bytes);
                // 255 degrees of freedom: mean 255, standard deviation 22.6; seven deviations.
                assert!((97.0..413.0).contains(&chi2), "input {value}, {link:?}: {chi2:.0} over {} bytes", bytes.len());
            }
        }
    }
}

/// From so many bytes on their distribution is looked at.
const MANY_BYTES: usize = 5 * 256;

fn chi_squared(bytes: &[u8]) -> f64 {
    let mut counts = [0f64; 256];
    bytes.iter().for_each(|&b| counts[usize::from(b)] += 1.0);
    let expected = bytes.len() as f64 / 256.0;
    counts.iter().map(|c| (c - expected).powi(2) / expected).sum()
}

/// Two runs share no long stretch of messages, and their exact outputs agree.
pub fn other_seeds_other_messages<P: Protocol>() {
    let (a, b) = (everything::<P>(3, 1024), everything::<P>(3, 1024));
    let exact = |t: &Trial| (t.outputs[3].clone(), t.outputs[4].clone());
    assert_eq!(exact(&a), exact(&b));
    for (link, ours) in &a.sent {
        // Of a few bytes one or two may be equal by chance.
        if ours.len() < MANY_BYTES {
            assert!(ours.is_empty() || *ours != b.sent[link], "{link:?}: the same in two runs");
            continue;
        }
        let equal = ours.iter().zip(&b.sent[link]).filter(|(a, b)| a == b).count();
        assert!(equal < ours.len() / 32, "{link:?}: {equal} of {} bytes are equal in two runs", ours.len());
    }
}

/// Nothing to compute is no error.
pub fn empty_vectors<P: Protocol>() {
    let none = [
        Primitive::Trunc { n: 0, shift: 3, form: Form::Share },
        Primitive::Relu { n: 0, width: 5 },
        Primitive::Ltz { n: 0, width: 5 },
    ];
    let got = trial::<P>(&[vec![1]], &none, &[1], |p, s| {
        let empty = s[0].map(0, |_| Vec::new());
        let truncated = p.trunc(Source::Share(&empty), 3)?;
        let rectified = p.relu(&truncated, 5)?;
        let bit = p.ltz(&rectified, 5)?;
        assert_eq!(bit.len(), 0);
        Ok(vec![p.to_product(&s[0])])
    });
    assert_eq!(got.outputs, [[1]]);
}
