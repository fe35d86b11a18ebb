//! Many samples: every element is a ciphertext, matrices are integer combinations.

use crate::Error;
use crate::circuit::{Kind, Sparse};
use crate::plan::Throughput;
use crate::public::Mark;
use std::collections::{BTreeMap, BTreeSet};
use subrosa_lattice::{Ciphertext, Combination, EvaluationKeys, Params, Poly, Product, parallel};

/// Rows that one combination computes: their results are all in memory at once, and their
/// operands are read once for all of them.
const ROWS: usize = 140;

/// One element: `c0 + c1 s`, and perhaps `+ c2 s^2` where relinearisation is put off until
/// after the next matrix, whose rows are fewer.
#[derive(Clone)]
struct Element {
    parts: Vec<Poly>,
}

impl Element {
    fn from_ciphertext(c: Ciphertext) -> Self {
        Self { parts: vec![c.c0, c.c1] }
    }

    /// Two parts.
    fn relinearised(self, params: &Params, keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
        let mut parts = self.parts.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(c0), Some(c1), None) => Ok(Ciphertext { c0, c1 }),
            (Some(d0), Some(d1), Some(d2)) => Ok(params.relinearise(Product { d0, d1, d2 }, keys)?),
            _ => Err(Error::Plan("an element has no parts".to_owned())),
        }
    }
}

/// Values of a step; none before it is computed and once nobody will read it any more.
type Value = Option<Vec<Element>>;

pub(super) fn evaluate(
    params: &Params,
    work: &Throughput,
    input: Vec<Ciphertext>,
    keys: &EvaluationKeys,
) -> Result<Vec<Ciphertext>, Error> {
    let circuit = &work.circuit;
    let last = work.last_readers();
    let mut values: Vec<Value> = vec![None; circuit.steps.len()];
    values[circuit.inputs[0]] = Some(input.into_iter().map(Element::from_ciphertext).collect());
    let mut id = 0;
    while id < circuit.steps.len() {
        // A square right after a matrix is taken row by row: the matrix's values are never
        // all there.
        let squared = work.squared_by(&last, id);
        let done = if squared.is_some() { id + 1 } else { id };
        let deferred = work.is_deferred(&last, done);
        let run = Run { params, keys, deferred };
        if let Some(value) = run.step(work, &values, id, squared)? {
            values[done] = Some(value);
        }
        (0..id).filter(|&x| last[x] <= done).for_each(|x| values[x] = None);
        id = done + 1;
    }
    let output = values[circuit.outputs[0]].take();
    let output = output.ok_or_else(|| Error::Plan("the output was not computed".to_owned()))?;
    output.into_iter().map(|e| e.relinearised(params, keys)).collect()
}

/// A number as an integer at a scale.
fn shift_at(shift: f64, mark: Mark) -> i64 {
    (shift * mark.scale).round() as i64
}

/// What every step needs.
struct Run<'a> {
    params: &'a Params,
    keys: &'a EvaluationKeys,
    /// Whether squares keep their third part.
    deferred: bool,
}

impl Run<'_> {
    fn step(&self, work: &Throughput, values: &[Value], id: usize, squared: Option<f64>) -> Result<Value, Error> {
        let read = |x: usize| values[x].as_deref().unwrap_or_default();
        let value = match &work.circuit.steps[id].kind {
            Kind::Input => return Ok(None),
            Kind::Affine { terms, bias } => {
                let operands: Vec<Operand<'_>> =
                    terms.iter().map(|(x, matrix)| Operand { value: read(*x), matrix, mark: work.marks[*x] }).collect();
                self.affine(&operands, bias, work.marks[id], squared)?
            }
            Kind::Square(x, shift) => {
                let shift = shift_at(*shift, work.marks[*x]);
                let elements: Vec<Element> = read(*x).to_vec();
                parallel::map(elements, |e| self.square(e, shift)).into_iter().collect::<Result<_, _>>()?
            }
            Kind::Product(x, y) => {
                let pairs = read(*x).iter().cloned().zip(read(*y).iter().cloned()).collect();
                parallel::map(pairs, |(a, b)| self.product(a, b)).into_iter().collect::<Result<_, _>>()?
            }
            Kind::Combine { base, terms, bias } => {
                let rows = (0..bias.len()).collect();
                let row = |i: usize| {
                    let terms = terms.iter().map(|(x, f)| (&read(*x)[i], f[i], work.marks[*x])).collect::<Vec<_>>();
                    self.combine(&read(*base)[i], &terms, bias[i], work.marks[id])
                };
                parallel::map(rows, row).into_iter().collect::<Result<_, _>>()?
            }
            Kind::Function(..) => return Err(Error::Plan("a function was left in the circuit".to_owned())),
        };
        Ok(Some(value))
    }

    fn square(&self, x: Element, shift: i64) -> Result<Element, Error> {
        let mut x = x.relinearised(self.params, self.keys)?;
        self.params.add_constant(&mut x.c0, shift);
        self.finished(self.params.tensor_square(&x))
    }

    /// `base + sum of factors x + bias` at the mark.
    fn combine(
        &self,
        base: &Element,
        terms: &[(&Element, f64, Mark)],
        bias: f64,
        mark: Mark,
    ) -> Result<Element, Error> {
        let params = self.params;
        let mut y = base.clone().relinearised(params, self.keys)?;
        y.truncate(mark.level);
        let dropped = params.modulus(mark.level).value() as f64;
        for (x, factor, of) in terms {
            let mut x = (*x).clone().relinearised(params, self.keys)?;
            x.truncate(mark.level + 1);
            let weight = (factor * mark.scale * dropped / of.scale).round() as i64;
            for (part, sum) in [(&mut x.c0, &mut y.c0), (&mut x.c1, &mut y.c1)] {
                params.scale(part, weight);
                params.rescale_poly(part);
                params.add(sum, part);
            }
        }
        params.add_constant(&mut y.c0, (bias * mark.scale).round() as i64);
        Ok(Element::from_ciphertext(y))
    }

    fn product(&self, x: Element, y: Element) -> Result<Element, Error> {
        let (mut x, mut y) = (x.relinearised(self.params, self.keys)?, y.relinearised(self.params, self.keys)?);
        let level = x.level().min(y.level());
        x.truncate(level);
        y.truncate(level);
        self.finished(self.params.tensor(&x, &y))
    }

    /// A product rescaled, and relinearised unless that is put off.
    fn finished(&self, Product { d0, d1, d2 }: Product) -> Result<Element, Error> {
        let mut element = Element { parts: vec![d0, d1, d2] };
        if !self.deferred {
            element = Element::from_ciphertext(element.relinearised(self.params, self.keys)?);
        }
        element.parts.iter_mut().for_each(|p| self.params.rescale_poly(p));
        Ok(element)
    }

    /// The affine map, with each row squared if that is asked for.
    fn affine(
        &self,
        terms: &[Operand<'_>],
        bias: &[f64],
        mark: Mark,
        squared: Option<f64>,
    ) -> Result<Vec<Element>, Error> {
        let params = self.params;
        let level = mark.level + 1;
        let dropped = params.modulus(level - 1).value() as f64;
        let scales: Vec<f64> = terms.iter().map(|t| mark.scale * dropped / t.mark.scale).collect();
        let finish = |(row, mut element): (usize, Element)| {
            element.parts.iter_mut().for_each(|p| params.rescale_poly(p));
            let mut c = element.relinearised(params, self.keys)?;
            params.add_constant(&mut c.c0, (bias[row] * mark.scale).round() as i64);
            let element = Element::from_ciphertext(c);
            Ok((row, if let Some(shift) = squared { self.square(element, shift_at(shift, mark))? } else { element }))
        };
        let done = parallel::map(bands(groups(terms, bias.len())), |band| {
            let rows: Vec<usize> = band.iter().flat_map(|g| g.rows.iter().copied()).collect();
            let sums = combined(params, terms, &scales, &band, level);
            parallel::map(rows.into_iter().zip(sums).collect(), finish).into_iter().collect::<Result<Vec<_>, Error>>()
        });
        let mut out: Vec<Option<Element>> = vec![None; bias.len()];
        for (row, element) in done.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
            out[row] = Some(element);
        }
        Ok(out.into_iter().flatten().collect())
    }
}

/// One term of an affine step.
struct Operand<'a> {
    value: &'a [Element],
    matrix: &'a Sparse,
    mark: Mark,
}

/// `(term, element)`.
type Column = (usize, u32);

/// Rows that read the same elements, computed together.
struct Group {
    columns: Vec<Column>,
    rows: Vec<usize>,
}

/// Groups that are computed together, at most [`ROWS`] rows of them, fewer if a thread would
/// have none; larger groups are cut.
fn bands(groups: Vec<Group>) -> Vec<Vec<Group>> {
    let all: usize = groups.iter().map(|g| g.rows.len()).sum();
    let most = ROWS.min(all.div_ceil(parallel::threads())).max(1);
    let mut bands: Vec<Vec<Group>> = Vec::new();
    let mut room = 0;
    for group in groups {
        for rows in group.rows.chunks(most) {
            let group = Group { columns: group.columns.clone(), rows: rows.to_vec() };
            match bands.last_mut().filter(|_| rows.len() <= room) {
                Some(band) => band.push(group),
                None => {
                    room = most;
                    bands.push(vec![group]);
                }
            }
            room -= rows.len();
        }
    }
    bands
}

/// The band's rows: combinations of every part; an operand without a third part has zero
/// there.
fn combined(params: &Params, terms: &[Operand<'_>], scales: &[f64], band: &[Group], level: usize) -> Vec<Element> {
    let element = |&(term, element): &Column| &terms[term].value[element as usize];
    let columns: BTreeSet<Column> = band.iter().flat_map(|g| g.columns.iter().copied()).collect();
    let widest = columns.iter().map(|c| element(c).parts.len()).max().unwrap_or(2);
    let mut rows: Vec<Element> = Vec::new();
    for i in 0..widest {
        let has_part = |c: &Column| i < element(c).parts.len();
        let with: Vec<Column> = columns.iter().copied().filter(has_part).collect();
        let places: BTreeMap<Column, usize> = with.iter().enumerate().map(|(k, &c)| (c, k)).collect();
        let combinations: Vec<Combination> = band
            .iter()
            .map(|group| {
                let columns: Vec<Column> = group.columns.iter().copied().filter(has_part).collect();
                let weights = group.rows.iter().map(|&row| weights(terms, scales, &columns, row)).collect();
                Combination { columns: columns.iter().map(|c| places[c]).collect(), weights }
            })
            .collect();
        let parts: Vec<&Poly> = with.iter().map(|c| &element(c).parts[i]).collect();
        let sums = params.combine(&parts, &combinations, level);
        rows.resize_with(sums.len(), || Element { parts: Vec::new() });
        rows.iter_mut().zip(sums).for_each(|(row, sum)| row.parts.push(sum));
    }
    rows
}

/// A row's weights for these columns, as integers.
fn weights(terms: &[Operand<'_>], scales: &[f64], columns: &[Column], row: usize) -> Vec<i64> {
    let weight = |&(term, element): &Column| {
        let entries = &terms[term].matrix.rows[row];
        let found = entries.binary_search_by_key(&element, |e| e.0).ok().map_or(0.0, |i| entries[i].1);
        (found * scales[term]).round() as i64
    };
    columns.iter().map(weight).collect()
}

/// Rows with the same columns; where rows are nearly full, all of them as one group.
fn groups(terms: &[Operand<'_>], rows: usize) -> Vec<Group> {
    let columns = |row: usize| -> Vec<Column> {
        terms.iter().enumerate().flat_map(|(t, o)| o.matrix.rows[row].iter().map(move |e| (t, e.0))).collect()
    };
    let mut groups: BTreeMap<Vec<Column>, Vec<usize>> = BTreeMap::new();
    let mut all = BTreeSet::new();
    let mut entries = 0;
    for row in 0..rows {
        let columns = columns(row);
        entries += columns.len();
        all.extend(columns.iter().copied());
        groups.entry(columns).or_default().push(row);
    }
    if groups.len() > 1 && 2 * entries > all.len() * rows {
        return vec![Group { columns: all.into_iter().collect(), rows: (0..rows).collect() }];
    }
    groups.into_iter().map(|(columns, rows)| Group { columns, rows }).collect()
}
