//! Max and average pooling: windows are gathered as `[taps, outputs]`, then reduced.

use super::super::Comparing;
use super::super::context::Context;
use super::super::geometry as geo;
use super::{arithmetic, arrange, reduce};
use crate::Error;
use crate::op::{ValueId, Window};
use crate::program::Id;
use subrosa_core::fixed;

/// The largest of each window. A tap on padding repeats a tap of its own window, so
/// padding never wins and needs no value.
pub(super) fn max_pool(cx: &mut Context<'_>, id: ValueId, window: &Window) -> Result<Id, Error> {
    let node = cx.node(id);
    let windows = geo::windows(window, cx.dims(node.inputs[0]), node.shape.dims());
    let (taps, len) = (window.kernel.0 * window.kernel.1, windows.len());
    let x = match pools_untruncated(cx, node.inputs[0], (taps - 1) * len)? {
        true => cx.raw(node.inputs[0])?,
        false => cx.activation(node.inputs[0])?,
    };
    let own = |taps: &[Option<u32>], t: usize| taps[t].or_else(|| taps.iter().copied().flatten().next());
    let map: Option<Vec<u32>> = (0..taps * len).map(|i| own(&windows[i % len], i / len)).collect();
    // The real pass has refused windows without any tap.
    let map = map.ok_or_else(|| cx.domain(id, "a window lies entirely in the padding".to_owned()))?;
    let gathered = cx.b.layout(x, map, geo::shape([taps, len])?)?;
    reduce::largest(cx, gathered, taps, node.shape.clone())
}

/// Whether the largest of `x` is found, by so many comparisons, before it is truncated:
/// rounding then happens once a window, to the element that is largest. Truncation is
/// monotone up to its last place, so the result is within the bound of either order.
///
/// Truncating costs a protocol about two ring elements each; a comparison, for each bit that it is
/// wider, two bits, or two ciphertexts of a key.
fn pools_untruncated(cx: &mut Context<'_>, x: ValueId, comparisons: usize) -> Result<bool, Error> {
    let raw = cx.raw(x)?;
    let shift = cx.b.frac(raw).saturating_sub(cx.scales.target[x]);
    let truncating = 2 * u64::from(cx.b.ring().bits()) * cx.b.len(raw) as u64;
    let a_bit = match cx.comparing {
        Comparing::Circuits => 2,
        Comparing::Keys => 256,
    };
    let wider = a_bit * u64::from(shift) * comparisons as u64;
    // What can be truncated leaves a bit for a difference.
    Ok(shift > 0 && cx.read_once(x) && wider < truncating)
}

/// Window sums, divided. A power of two divides for free: the same integers count that
/// many more fraction bits.
pub(super) fn average_pool(cx: &mut Context<'_>, id: ValueId, window: &Window, pad: bool) -> Result<Id, Error> {
    let node = cx.node(id);
    let (input, shape) = (node.inputs[0], node.shape.clone());
    let windows = geo::windows(window, cx.dims(input), shape.dims());
    let (taps, len) = (window.kernel.0 * window.kernel.1, windows.len());
    let raw = cx.raw(input)?;
    let x = reduce::with_room_for_sum(cx, raw, taps, cx.scales.target[input])?;
    let map: Vec<Option<u32>> = (0..taps * len).map(|i| windows[i % len][i / len]).collect();
    let gathered = arrange::gather_or(cx, x, &map, 0.0, geo::shape([taps, len])?)?;
    let sum = cx.b.sum(gathered, taps, len, shape)?;
    let by = geo::divisors(window, cx.dims(input), cx.dims(id), pad);
    match by.iter().all(|&n| n == by[0]) {
        true => reduce::divided(cx, sum, by[0].max(1), cx.scales.target[id]),
        false => divided_each(cx, sum, &by, cx.scales.target[id]),
    }
}

/// Each output position has its own divisor.
fn divided_each(cx: &mut Context<'_>, sum: Id, by: &[usize], target: u32) -> Result<Id, Error> {
    let by: Vec<f64> = by.iter().map(|&n| 1.0 / n.max(1) as f64).collect();
    let (sum, frac) = arithmetic::with_room_for_factors(cx, sum, &by, target)?;
    let factors = (0..cx.b.len(sum)).map(|i| fixed::encode(by[i % by.len()], frac).unwrap_or(0));
    cx.b.scale(sum, factors.collect(), frac)
}
