//! What `rep4` costs, and which sizes it takes.

use super::compare::{self, opening_cost};
use super::deal;
use super::share::{HELD, HELPER};
use super::vouch::DIGEST;
use super::{SEED_BYTES, WORDS};
use crate::Error;
use crate::protocol::{Form, Primitive};
use subrosa_core::Cost;
use subrosa_ring::bits::plane_bytes;
use subrosa_ring::{Ring, packed_len};

/// Lengths of a data owner's messages to the parties that are online.
pub(super) fn input_bytes<R: Ring>(n: usize) -> [usize; 4] {
    let of = |piece: &usize| if *piece == WORDS { packed_len(n, R::WIDTH.bits()) } else { SEED_BYTES };
    HELD.map(|held| held.iter().map(of).sum())
}

/// What a primitive costs in the preprocessing.
pub(super) fn offline(call: &Primitive, k: u32) -> Cost {
    let product = |n: usize| deal::cost(3, packed_len(n, k));
    let opened = |n: usize, form: Form| match form {
        Form::Share => Cost::FREE,
        Form::Product => product(n),
    };
    let truncation = |n: usize, shift: u32| {
        deal::cost(1, packed_len(n, k) + packed_len(n, shift)) + deal::cost(2, packed_len(n, shift))
    };
    let sign = |n: usize, width: u32| {
        compare::offline_cost(n, width) + deal::cost(1, packed_len(n, k)) + deal::cost(2, packed_len(n, k))
    };
    match *call {
        Primitive::Input { .. } | Primitive::Mul { .. } | Primitive::MatMul { .. } | Primitive::Conv { .. } => {
            Cost::FREE
        }
        Primitive::OpenTo { n: 0 }
        | Primitive::Reshare { n: 0 }
        | Primitive::Trunc { n: 0, .. }
        | Primitive::Ltz { n: 0, .. }
        | Primitive::Relu { n: 0, .. }
        | Primitive::TruncRelu { n: 0, .. } => Cost::FREE,
        Primitive::OpenTo { n } | Primitive::Reshare { n } => product(n),
        Primitive::Trunc { n, shift, form } => opened(n, form) + truncation(n, shift),
        Primitive::Ltz { n, width } => sign(n, width),
        Primitive::Relu { n, width } => sign(n, width) + product(n),
        Primitive::TruncRelu { n, shift, width, form } => {
            opened(n, form) + truncation(n, shift) + sign(n, width) + product(n)
        }
    }
}

/// What a primitive costs online.
pub(super) fn online<R: Ring>(call: &Primitive) -> Cost {
    let k = R::WIDTH.bits();
    let swapped = |n: usize| opening_cost(packed_len(n, k));
    let opened = |n: usize, form: Form| match form {
        Form::Share => Cost::FREE,
        Form::Product => swapped(n),
    };
    let truncation = |n: usize| Cost::round([plane_bytes(n) as u64, DIGEST as u64]) + swapped(n);
    match *call {
        Primitive::Input { n } => {
            let dealt = Cost::round(input_bytes::<R>(n)[..HELPER].iter().map(|&b| b as u64));
            if n == 0 { dealt } else { dealt + swapped(n) }
        }
        Primitive::Mul { .. } | Primitive::MatMul { .. } | Primitive::Conv { .. } => Cost::FREE,
        Primitive::OpenTo { n: 0 }
        | Primitive::Reshare { n: 0 }
        | Primitive::Trunc { n: 0, .. }
        | Primitive::Ltz { n: 0, .. }
        | Primitive::Relu { n: 0, .. }
        | Primitive::TruncRelu { n: 0, .. } => Cost::FREE,
        Primitive::OpenTo { n } => Cost::messages(3, (packed_len(n, k) + DIGEST) as u64),
        Primitive::Reshare { n } => swapped(n),
        Primitive::Trunc { n, form, .. } => opened(n, form) + truncation(n),
        Primitive::Ltz { n, width } | Primitive::Relu { n, width } => compare::online_cost(n, width) + swapped(n),
        Primitive::TruncRelu { n, width, form, .. } => {
            opened(n, form) + truncation(n) + compare::online_cost(n, width) + swapped(n)
        }
    }
}

/// About how many bytes a party keeps of what it prepared for a primitive.
pub(super) fn memory(call: &Primitive, k: u32) -> u64 {
    let word = u64::from(k.next_power_of_two()) / 8;
    let words = |n: usize, count: u64| n as u64 * word * count;
    let opened = |form: Form| 2 * u64::from(form == Form::Product);
    match *call {
        Primitive::Input { n } | Primitive::OpenTo { n } | Primitive::Reshare { n } => words(n, 2),
        Primitive::Mul { n } => words(n, 4),
        Primitive::MatMul { .. } | Primitive::Conv { .. } => 0,
        Primitive::Trunc { n, form, .. } => words(n, 7 + opened(form)),
        Primitive::Ltz { n, width } => compare::memory(n, width) + words(n, 4),
        Primitive::Relu { n, width } => compare::memory(n, width) + words(n, 6),
        Primitive::TruncRelu { n, width, form, .. } => compare::memory(n, width) + words(n, 13 + opened(form)),
    }
}

/// Refuses sizes outside the protocol's ranges, before anything is sent.
pub(super) fn check(demand: &[Primitive], k: u32) -> Result<(), Error> {
    match demand.iter().find(|p| !p.fits(k)) {
        Some(p) => Err(Error::Misuse(format!("rep4 over Z_2^{k} cannot run {p:?}: its widths do not fit the ring"))),
        None => Ok(()),
    }
}
