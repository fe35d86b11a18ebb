//! What protocols with vouched messages cost, and which sizes they take.

use super::Crew;
use super::bilinear::Bilinear;
use super::compare::{self, opening_cost};
use super::deal::{self, ALL};
use super::proof::{Load, words};
use super::share::HELPER;
use super::truncate::PROVEN_AT_ONCE;
use super::vouch::DIGEST;
use crate::Error;
use crate::protocol::{Form, Primitive};
use crate::sharing::pieces_bytes;
use subrosa_core::Cost;
use subrosa_ring::bits::{plane_bytes, plane_words};
use subrosa_ring::{Ring, packed_len};

/// Lengths of a data owner's messages to the parties that are online.
pub(super) fn input_bytes<R: Ring>(n: usize) -> [usize; 4] {
    pieces_bytes(packed_len(n, R::WIDTH.bits()))
}

/// One round of corrections in the preprocessing.
enum Step {
    /// Of so many planes of `n` bits, from all parties.
    Planes { n: usize, planes: usize },
    /// Of products of words.
    Words(Vec<Product>),
}

/// A product of words that is dealt.
struct Product {
    map: Bilinear,
    from: &'static [usize],
    /// Bits of a result, with a helper.
    bits: u32,
    supports: [[bool; 3]; 2],
}

impl Product {
    fn of_all(map: Bilinear, k: u32) -> Self {
        Self { map, from: ALL, bits: k, supports: [[true; 3]; 2] }
    }

    /// Of terms of some parties. Which pieces are not zero matters without a helper only.
    fn of(map: Bilinear, from: &'static [usize], bits: u32, supports: [[bool; 3]; 2]) -> Self {
        Self { map, from, bits, supports }
    }
}

const FIRST: [bool; 3] = [true, false, false];
const SECOND: [bool; 3] = [false, true, false];
const THIRD: [bool; 3] = [false, false, true];

/// The rounds of a primitive's preprocessing, in order.
fn steps<C: Crew>(call: &Primitive, k: u32) -> Vec<Step> {
    let product = |map: Bilinear| Step::Words(vec![Product::of_all(map, k)]);
    // With a helper a product is dealt when it is opened.
    let made = |map: Bilinear| if C::HELPED { vec![] } else { vec![product(map)] };
    let opened = |n: usize| if C::HELPED { vec![product(Bilinear::Zero { n })] } else { vec![] };
    let source = |n: usize, form: Form| match form {
        Form::Share => vec![],
        Form::Product => opened(n),
    };
    match *call {
        Primitive::Input { .. } => vec![],
        Primitive::Mul { n } => made(Bilinear::Mul { n }),
        Primitive::MatMul { batch, dims, matrices } => made(Bilinear::MatMul { batch, dims, matrices }),
        Primitive::Conv { batch, geometry } => made(Bilinear::Conv { batch, geometry }),
        Primitive::OpenTo { n: 0, .. }
        | Primitive::Reshare { n: 0 }
        | Primitive::Trunc { n: 0, .. }
        | Primitive::Ltz { n: 0, .. }
        | Primitive::Relu { n: 0, .. }
        | Primitive::TruncRelu { n: 0, .. } => vec![],
        Primitive::OpenTo { parts, n } => vec![product(Bilinear::Zero { n: parts * n })],
        Primitive::Reshare { n } => opened(n),
        Primitive::Trunc { n, shift, form } => joined([source(n, form), truncation::<C>(n, shift, k)]),
        Primitive::Ltz { n, width } => sign(n, width, k),
        Primitive::Relu { n, width } => joined([sign(n, width, k), vec![product(Bilinear::Mul { n })]]),
        Primitive::TruncRelu { n, shift, width, form } => joined([
            source(n, form),
            truncation::<C>(n, shift, k),
            sign(n, width, k),
            vec![product(Bilinear::Mul { n })],
        ]),
    }
}

fn joined<const N: usize>(steps: [Vec<Step>; N]) -> Vec<Step> {
    steps.into_iter().flatten().collect()
}

fn truncation<C: Crew>(n: usize, shift: u32, k: u32) -> Vec<Step> {
    let of_0 = |map: Bilinear, bits: u32| Product::of(map, &[0], bits, [SECOND, THIRD]);
    let mut steps = match C::HELPED {
        true => vec![Step::Words(vec![of_0(Bilinear::Zero { n }, k), of_0(Bilinear::Zero { n }, shift)])],
        false => (0..n)
            .step_by(PROVEN_AT_ONCE)
            .map(|start| Bilinear::And { n: PROVEN_AT_ONCE.min(n - start), k, shift })
            .map(|map| Step::Words(vec![of_0(map, k)]))
            .collect(),
    };
    let supports = [[false, true, true], FIRST];
    steps.push(Step::Words(vec![Product::of(Bilinear::Mul { n }, &[1, 2], shift, supports)]));
    steps
}

/// The comparison's circuits, then its bit in the ring.
fn sign(n: usize, width: u32, k: u32) -> Vec<Step> {
    let map = Bilinear::Mul { n };
    let circuits = compare::layers_of(width).into_iter().map(|planes| Step::Planes { n, planes });
    let bit = [Product::of(map, &[2], k, [FIRST, SECOND]), Product::of(map, &[0, 1], k, [[true, true, false], THIRD])];
    circuits.chain(bit.map(|product| Step::Words(vec![product]))).collect()
}

impl Step {
    /// What dealing it costs.
    fn cost<C: Crew>(&self, k: u32) -> Cost {
        match (self, C::HELPED) {
            (Self::Planes { n, planes }, true) => deal::cost(HELPER, planes * plane_bytes(*n)),
            (Self::Planes { n, planes }, false) => Cost::messages(3, (planes * plane_bytes(*n)) as u64),
            (Self::Words(all), true) => {
                let of = |party: usize| -> usize {
                    let its = all.iter().filter(|product| product.from.contains(&party));
                    its.map(|product| packed_len(product.map.outputs(), product.bits)).sum()
                };
                let sent = (0..HELPER).map(of).filter(|&bytes| bytes > 0);
                Cost::round(sent.flat_map(|bytes| [bytes as u64, DIGEST as u64]))
            }
            (Self::Words(all), false) => {
                let of = |party: usize| -> usize {
                    let its = all.iter().filter(|product| product.from.contains(&party));
                    its.map(|product| product.map.outputs()).sum()
                };
                words::dealing_cost(k, &[0, 1, 2].map(of))
            }
        }
    }

    /// Notes what of it is to be proven.
    fn note(&self, load: &mut Load) {
        match self {
            Self::Planes { n, planes } => load.planes(planes * plane_words(*n)),
            Self::Words(all) => all.iter().for_each(|p| load.product(&p.map, p.from, p.supports)),
        }
    }
}

/// What primitives cost in the preprocessing, in this order.
pub(super) fn offline<C: Crew>(demand: &[Primitive], k: u32) -> Cost {
    let (mut cost, mut load) = (Cost::FREE, Load::default());
    for step in demand.iter().flat_map(|call| steps::<C>(call, k)) {
        cost += step.cost::<C>(k);
        if !C::HELPED {
            step.note(&mut load);
            if load.is_much() {
                cost += std::mem::take(&mut load).cost(k);
            }
        }
    }
    cost + load.cost(k)
}

/// What a primitive costs online.
pub(super) fn online<R: Ring, C: Crew>(call: &Primitive) -> Cost {
    let k = R::WIDTH.bits();
    let swapped = |n: usize| opening_cost(packed_len(n, k));
    let truncation = |n: usize, form: Form| {
        let opened = match (form, C::HELPED) {
            (Form::Share, true) => Cost::FREE,
            // At parties 1 and 2.
            (Form::Product, _) | (Form::Share, false) => {
                Cost::round([packed_len(n, k) as u64, DIGEST as u64].repeat(2))
            }
        };
        opened + Cost::round([plane_bytes(n) as u64, DIGEST as u64]) + swapped(n)
    };
    match *call {
        Primitive::Input { parts, n } => {
            let dealt = Cost::round(input_bytes::<R>(n)[..HELPER].iter().map(|&b| (b * parts) as u64));
            if parts * n == 0 { dealt } else { dealt + swapped(parts * n) }
        }
        Primitive::Mul { .. } | Primitive::MatMul { .. } | Primitive::Conv { .. } => Cost::FREE,
        Primitive::OpenTo { n: 0, .. }
        | Primitive::Reshare { n: 0 }
        | Primitive::Trunc { n: 0, .. }
        | Primitive::Ltz { n: 0, .. }
        | Primitive::Relu { n: 0, .. }
        | Primitive::TruncRelu { n: 0, .. } => Cost::FREE,
        Primitive::OpenTo { parts, n } => Cost::messages(3, (parts * (packed_len(n, k) + DIGEST)) as u64),
        Primitive::Reshare { n } => swapped(n),
        Primitive::Trunc { n, form, .. } => truncation(n, form),
        Primitive::Ltz { n, width } | Primitive::Relu { n, width } => compare::online_cost(n, width) + swapped(n),
        Primitive::TruncRelu { n, width, form, .. } => {
            truncation(n, form) + compare::online_cost(n, width) + swapped(n)
        }
    }
}

/// About how many bytes a party keeps of what it prepared for a primitive.
pub(super) fn memory(call: &Primitive, k: u32) -> u64 {
    let word = u64::from(k.next_power_of_two()) / 8;
    let words = |n: usize, count: u64| n as u64 * word * count;
    let opened = |form: Form| 2 * u64::from(form == Form::Product);
    match *call {
        Primitive::Input { parts, n } | Primitive::OpenTo { parts, n } => words(parts * n, 2),
        Primitive::Reshare { n } => words(n, 2),
        Primitive::Mul { n } => words(n, 4),
        Primitive::MatMul { .. } | Primitive::Conv { .. } => 0,
        Primitive::Trunc { n, form, .. } => words(n, 7 + opened(form)),
        Primitive::Ltz { n, width } => compare::memory(n, width) + words(n, 4),
        Primitive::Relu { n, width } => compare::memory(n, width) + words(n, 6),
        Primitive::TruncRelu { n, width, form, .. } => compare::memory(n, width) + words(n, 13 + opened(form)),
    }
}

/// Refuses sizes outside the protocol's ranges, before anything is sent.
pub(super) fn check<R: Ring, C: Crew>(demand: &[Primitive]) -> Result<(), Error> {
    let k = R::WIDTH.bits();
    match demand.iter().find(|p| !p.fits(k)) {
        Some(p) => {
            let name = C::NAME;
            Err(Error::Misuse(format!("{name} over Z_2^{k} cannot run {p:?}: its widths do not fit the ring")))
        }
        None => Ok(()),
    }
}
