//! Many samples: every element is a ciphertext, matrices are integer combinations.

use crate::Error;
use crate::circuit::{Circuit, Kind, Sparse};
use crate::plan::Throughput;
use crate::public::Mark;
use std::collections::{BTreeMap, BTreeSet};
use subrosa_lattice::{Ciphertext, EvaluationKeys, Params, Poly};

/// Rows that one combination computes: their results are all in memory at once.
const ROWS: usize = 66;

/// Values of a step; none before it is computed and once nobody will read it any more.
type Value = Option<Vec<Ciphertext>>;

pub(super) fn evaluate(
    params: &Params,
    work: &Throughput,
    input: Vec<Ciphertext>,
    keys: &EvaluationKeys,
) -> Result<Vec<Ciphertext>, Error> {
    let circuit = &work.circuit;
    let last = last_readers(circuit);
    let mut values: Vec<Value> = vec![None; circuit.steps.len()];
    values[circuit.inputs[0]] = Some(input);
    let mut id = 0;
    while id < circuit.steps.len() {
        // A square right after a matrix is taken row by row: the matrix's values are never
        // all there.
        let squared = squared_by(circuit, &last, id);
        let done = squared.unwrap_or(id);
        if let Some(value) = step(params, work, &values, id, squared.is_some(), keys)? {
            values[done] = Some(value);
        }
        (0..id).filter(|&x| last[x] <= done).for_each(|x| values[x] = None);
        id = done + 1;
    }
    values[circuit.outputs[0]].take().ok_or_else(|| Error::Plan("the output was not computed".to_owned()))
}

/// For each step, the last step that reads it; the output is read at the end.
fn last_readers(circuit: &Circuit) -> Vec<usize> {
    let mut last = vec![0; circuit.steps.len()];
    for (id, step) in circuit.steps.iter().enumerate() {
        match &step.kind {
            Kind::Input => {}
            Kind::Affine { terms, .. } => terms.iter().for_each(|(x, _)| last[*x] = id),
            Kind::Square(x) | Kind::Function(x, _) => last[*x] = id,
            Kind::Product(x, y) => (last[*x], last[*y]) = (id, id),
        }
    }
    circuit.outputs.iter().for_each(|&o| last[o] = usize::MAX);
    last
}

/// The next step, if it squares this affine one and nobody else reads it.
fn squared_by(circuit: &Circuit, last: &[usize], id: usize) -> Option<usize> {
    let next = circuit.steps.get(id + 1)?;
    let square = matches!(next.kind, Kind::Square(x) if x == id) && last[id] == id + 1;
    (square && matches!(circuit.steps[id].kind, Kind::Affine { .. })).then_some(id + 1)
}

fn step(
    params: &Params,
    work: &Throughput,
    values: &[Value],
    id: usize,
    squared: bool,
    keys: &EvaluationKeys,
) -> Result<Value, Error> {
    let read = |x: usize| values[x].as_deref().unwrap_or_default();
    let value = match &work.circuit.steps[id].kind {
        Kind::Input => return Ok(None),
        Kind::Affine { terms, bias } => {
            let operands: Vec<Operand<'_>> =
                terms.iter().map(|(x, matrix)| Operand { value: read(*x), matrix, mark: work.marks[*x] }).collect();
            affine(params, &operands, bias, work.marks[id], squared.then_some(keys))?
        }
        Kind::Square(x) => read(*x).iter().map(|c| square(params, c, keys)).collect::<Result<_, _>>()?,
        Kind::Product(x, y) => {
            let pairs = read(*x).iter().zip(read(*y));
            pairs.map(|(a, b)| product(params, a, b, keys)).collect::<Result<_, _>>()?
        }
        Kind::Function(..) => return Err(Error::Plan("a function was left in the circuit".to_owned())),
    };
    Ok(Some(value))
}

fn square(params: &Params, x: &Ciphertext, keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
    let mut y = params.relinearise(params.tensor_square(x), keys)?;
    params.rescale(&mut y)?;
    Ok(y)
}

fn product(params: &Params, x: &Ciphertext, y: &Ciphertext, keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
    let level = x.level().min(y.level());
    let at = |c: &Ciphertext| {
        let mut c = c.clone();
        c.truncate(level);
        c
    };
    let mut z = params.relinearise(params.tensor(&at(x), &at(y)), keys)?;
    params.rescale(&mut z)?;
    Ok(z)
}

/// One term of an affine step.
struct Operand<'a> {
    value: &'a [Ciphertext],
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

/// The affine map, with each row squared if `keys` are given for it.
fn affine(
    params: &Params,
    terms: &[Operand<'_>],
    bias: &[f64],
    mark: Mark,
    keys: Option<&EvaluationKeys>,
) -> Result<Vec<Ciphertext>, Error> {
    let level = mark.level + 1;
    let dropped = params.modulus(level - 1).value() as f64;
    let scales: Vec<f64> = terms.iter().map(|t| mark.scale * dropped / t.mark.scale).collect();
    let mut out: Vec<Option<Ciphertext>> = vec![None; bias.len()];
    for group in groups(terms, bias.len()) {
        let operands: Vec<&Ciphertext> = group.columns.iter().map(|&(t, e)| &terms[t].value[e as usize]).collect();
        for rows in group.rows.chunks(ROWS) {
            let weights: Vec<Vec<i64>> = rows.iter().map(|&row| weights(terms, &scales, &group.columns, row)).collect();
            for (&row, mut c) in rows.iter().zip(combined(params, &operands, &weights, level)) {
                params.rescale(&mut c)?;
                params.add_constant(&mut c.c0, (bias[row] * mark.scale).round() as i64);
                out[row] = Some(match keys {
                    Some(keys) => square(params, &c, keys)?,
                    None => c,
                });
            }
        }
    }
    Ok(out.into_iter().flatten().collect())
}

/// The rows' combinations of both parts.
fn combined(params: &Params, operands: &[&Ciphertext], weights: &[Vec<i64>], level: usize) -> Vec<Ciphertext> {
    let part = |pick: fn(&Ciphertext) -> &Poly| -> Vec<Poly> {
        let parts: Vec<&Poly> = operands.iter().map(|c| pick(c)).collect();
        params.combine(&parts, weights, level)
    };
    let (c0, c1) = (part(|c| &c.c0), part(|c| &c.c1));
    c0.into_iter().zip(c1).map(|(c0, c1)| Ciphertext { c0, c1 }).collect()
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
