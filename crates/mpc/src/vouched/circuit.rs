//! Circuits over bits of masks, in the preprocessing: all values are in pieces, every AND is
//! three corrections, and a layer of ANDs is one round.

use super::deal::{self, Operands};
use super::share::Pieces;
use super::{Crew, Vouched};
use crate::Error;
use crate::masked::groups::{groups, monomial_count};
use subrosa_ring::Ring;
use subrosa_ring::bits::{plane_words, xor_assign};

/// Bits of values, one plane in pieces each.
type Planes = Vec<Pieces<u64>>;

impl<R: Ring, C: Crew> Vouched<R, C> {
    /// The low `width` bits of the sum of three numbers, each of which is one piece: `pieces`
    /// are the bits of those that are held, plane after plane.
    ///
    /// The three are added column by column (sums and carries: one layer), then the carries
    /// to the sums by a prefix tree.
    pub(super) fn sum_of_pieces(&mut self, n: usize, width: usize, pieces: &[Vec<u64>]) -> Result<Planes, Error> {
        let words = plane_words(n);
        let column = |q: usize| -> Pieces<u64> {
            pieces.iter().map(|p| p.get(q * words..(q + 1) * words).unwrap_or(&[]).to_vec()).collect()
        };
        let mut sums: Planes = (0..width).map(column).collect();
        if width < 2 {
            return Ok(sums);
        }
        // The majority of three numbers' bits is the sum of the products of any two: of these,
        // each pair of pieces is one party's term.
        let carries = self.deal_planes(n, width - 1, Operands::Majority(pieces))?;
        let carries = split(&carries, words, width - 1);
        // Columns 1 and up have a carry of the first addition; the second one starts there.
        let starting = self.and_all(n, &pairs(&sums[1..width - 1], &carries))?;
        for (sum, carry) in sums[1..].iter_mut().zip(&carries) {
            xor_pieces(sum, carry);
        }
        let passing: Planes = sums[1..width - 1].to_vec();
        let carried = self.prefix(n, starting, passing)?;
        for (sum, carry) in sums[2..].iter_mut().zip(&carried) {
            xor_pieces(sum, carry);
        }
        Ok(sums)
    }

    /// Carries out of each column from whether it starts one (`g`) and passes one on (`p`).
    fn prefix(&mut self, n: usize, mut g: Planes, mut p: Planes) -> Result<Planes, Error> {
        for distance in distances(g.len()) {
            let (mut x, mut y) = (Vec::new(), Vec::new());
            for (high, low, passes) in joins(g.len(), distance) {
                x.push(p[high].clone());
                y.push(g[low].clone());
                if passes {
                    x.push(p[high].clone());
                    y.push(p[low].clone());
                }
            }
            let mut ands = self.and_all(n, &x.iter().zip(&y).collect::<Vec<_>>())?.into_iter();
            for (high, _, passes) in joins(g.len(), distance) {
                if let Some(carried) = ands.next() {
                    xor_pieces(&mut g[high], &carried);
                }
                if let Some(both) = passes.then(|| ands.next()).flatten() {
                    p[high] = both;
                }
            }
        }
        Ok(g)
    }

    /// The products of every set of bits of each group, and the top bit, from bits lowest
    /// first: what [`crate::masked::groups`] evaluates.
    pub(super) fn monomials(&mut self, n: usize, bits: &[Pieces<u64>]) -> Result<Pieces<u64>, Error> {
        let sizes = groups(bits.len() as u32);
        let (mut rest, mut sets): (_, Vec<Planes>) = (bits, Vec::new());
        for &size in &sizes {
            let (now, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            let singles = (1..=monomial_count(size))
                .map(|set| now.get(set.trailing_zeros() as usize).cloned().unwrap_or_default());
            sets.push(singles.collect());
        }
        for layer in 0..layers(&sizes) {
            let made: Vec<(usize, usize)> = (sizes.iter().enumerate())
                .flat_map(|(group, &size)| products_of_layer(size, layer).map(move |set| (group, set)))
                .collect();
            let operands: Vec<_> = made
                .iter()
                .map(|&(group, set)| {
                    let (low, high) = halves(set, layer);
                    (&sets[group][low - 1], &sets[group][high - 1])
                })
                .collect();
            let products = self.and_all(n, &operands)?;
            for ((group, set), product) in made.into_iter().zip(products) {
                sets[group][set - 1] = product;
            }
        }
        let planes = sets.iter().flatten().chain(rest.first());
        Ok(joined(planes, deal::held(self.me)))
    }

    /// Products of planes, all in one round.
    pub(super) fn and_all(&mut self, n: usize, operands: &[(&Pieces<u64>, &Pieces<u64>)]) -> Result<Planes, Error> {
        if operands.is_empty() {
            return Ok(Vec::new());
        }
        let held = deal::held(self.me);
        let x = joined(operands.iter().map(|o| o.0), held);
        let y = joined(operands.iter().map(|o| o.1), held);
        Ok(split(&self.and(n, &x, &y)?, plane_words(n), operands.len()))
    }
}

/// Planes one after another, piece by piece.
fn joined<'a>(planes: impl Iterator<Item = &'a Pieces<u64>> + Clone, held: usize) -> Pieces<u64> {
    let piece = |at: usize| {
        let mut all = Vec::new();
        planes.clone().filter_map(|plane| plane.get(at)).for_each(|plane| all.extend_from_slice(plane));
        all
    };
    (0..held).map(piece).collect()
}

/// The reverse of [`joined`].
fn split(pieces: &[Vec<u64>], words: usize, count: usize) -> Planes {
    let plane = |i: usize| pieces.iter().map(|p| p.get(i * words..(i + 1) * words).unwrap_or(&[]).to_vec()).collect();
    (0..count).map(plane).collect()
}

fn xor_pieces(x: &mut Pieces<u64>, y: &Pieces<u64>) {
    x.iter_mut().zip(y).for_each(|(x, y)| xor_assign(x, y));
}

fn pairs<'a>(x: &'a [Pieces<u64>], y: &'a [Pieces<u64>]) -> Vec<(&'a Pieces<u64>, &'a Pieces<u64>)> {
    x.iter().zip(y).collect()
}

/// Distances of the prefix tree's levels over `columns`.
fn distances(columns: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |d| Some(d * 2)).take_while(move |&d| d < columns)
}

/// On the level of `distance`: columns, the lower column of which each takes in the carry, and
/// whether both together pass one on (not if they reach down to the first).
fn joins(columns: usize, distance: usize) -> impl Iterator<Item = (usize, usize, bool)> {
    let high = (0..columns).filter(move |j| j & distance != 0);
    high.map(move |j| (j, j / distance * distance - 1, j / (2 * distance) > 0))
}

/// Layers of ANDs until all products of groups of these sizes are there.
fn layers(sizes: &[usize]) -> u32 {
    sizes.iter().max().map_or(0, |&largest| largest.max(1).next_power_of_two().trailing_zeros())
}

/// Sets of a group's bits whose product is made in layer `layer`: of more than 2^layer bits and
/// up to twice as many.
fn products_of_layer(size: usize, layer: u32) -> impl Iterator<Item = usize> {
    (1..=monomial_count(size)).filter(move |set| (1 << layer) < set.count_ones() && set.count_ones() <= 2 << layer)
}

/// The two sets of which such a set is made: its lowest 2^layer bits, and the others.
fn halves(set: usize, layer: u32) -> (usize, usize) {
    let rest = (0..1 << layer).fold(set, |rest, _| rest & rest.wrapping_sub(1));
    (set & !rest, rest)
}

/// Planes in each layer of ANDs of [`Vouched::sum_of_pieces`] and [`Vouched::monomials`] on values
/// of `width` bits, in order.
pub(super) fn layers_of(width: u32) -> Vec<usize> {
    let sizes = groups(width);
    let columns = (width as usize).saturating_sub(2);
    let mut planes = vec![(width as usize).saturating_sub(1), columns];
    planes.extend(
        distances(columns).map(|d| joins(columns, d).map(|(_, _, passes)| 1 + usize::from(passes)).sum::<usize>()),
    );
    let of_layer = |l: u32| sizes.iter().map(|&size| products_of_layer(size, l).count()).sum::<usize>();
    planes.extend((0..layers(&sizes)).map(of_layer));
    planes.retain(|&planes: &usize| planes > 0);
    planes
}
