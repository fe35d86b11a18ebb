//! Real matrices with few entries a row.

/// A matrix by rows: for each, its non-zero entries by ascending column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sparse {
    /// Columns.
    pub cols: usize,
    /// Entries `(column, value)`.
    pub rows: Vec<Vec<(u32, f64)>>,
}

impl Sparse {
    /// The identity.
    pub fn identity(n: usize) -> Self {
        Self { cols: n, rows: (0..n).map(|i| vec![(i as u32, 1.0)]).collect() }
    }

    /// A matrix given row by row; entries of one column are added up, zeros dropped.
    pub fn from_rows(cols: usize, rows: impl Iterator<Item = Vec<(u32, f64)>>) -> Self {
        let mut sum = Accumulator::new(cols);
        let rows = rows.map(|row| {
            row.into_iter().for_each(|(c, v)| sum.add(c, v));
            sum.take()
        });
        Self { cols, rows: rows.collect() }
    }

    /// Entries that are not zero.
    pub fn entries(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// Most entries of a row.
    pub fn widest_row(&self) -> usize {
        self.rows.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Row `i` is row `map[i]`.
    pub fn gather(&self, map: impl Iterator<Item = usize>) -> Self {
        Self { cols: self.cols, rows: map.map(|i| self.rows[i].clone()).collect() }
    }

    /// `self * inner`.
    pub fn after(&self, inner: &Self) -> Self {
        let mut sum = Accumulator::new(inner.cols);
        let rows = self.rows.iter().map(|row| {
            for &(k, a) in row {
                inner.rows[k as usize].iter().for_each(|&(c, v)| sum.add(c, a * v));
            }
            sum.take()
        });
        Self { cols: inner.cols, rows: rows.collect() }
    }

    /// `self * x`.
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        self.rows.iter().map(|row| row.iter().map(|&(c, v)| v * x[c as usize]).sum()).collect()
    }

    /// Row `i` times `factor(i)`.
    pub fn scale_rows(&mut self, factor: impl Fn(usize) -> f64) {
        for (i, row) in self.rows.iter_mut().enumerate() {
            row.iter_mut().for_each(|(_, v)| *v *= factor(i));
            row.retain(|&(_, v)| v != 0.0);
        }
    }

    /// Column `i` times `factor(i)`.
    pub fn scale_cols(&mut self, factor: impl Fn(usize) -> f64) {
        for row in &mut self.rows {
            row.iter_mut().for_each(|(c, v)| *v *= factor(*c as usize));
            row.retain(|&(_, v)| v != 0.0);
        }
    }

    /// The diagonal, if there is nothing else and no zero on it.
    pub fn diagonal(&self) -> Option<Vec<f64>> {
        if self.cols != self.rows.len() {
            return None;
        }
        let entry = |(i, row): (usize, &Vec<(u32, f64)>)| match row.as_slice() {
            [(c, v)] if *c as usize == i => Some(*v),
            _ => None,
        };
        self.rows.iter().enumerate().map(entry).collect()
    }

    /// The sum of two matrices of one shape.
    pub fn plus(&self, other: &Self) -> Self {
        let pairs = self.rows.iter().zip(&other.rows).map(|(a, b)| a.iter().chain(b).copied().collect());
        Self::from_rows(self.cols, pairs)
    }
}

/// Adds entries of a row by column.
struct Accumulator {
    values: Vec<f64>,
    touched: Vec<u32>,
}

impl Accumulator {
    fn new(cols: usize) -> Self {
        Self { values: vec![0.0; cols], touched: Vec::new() }
    }

    fn add(&mut self, column: u32, value: f64) {
        self.touched.push(column);
        self.values[column as usize] += value;
    }

    fn take(&mut self) -> Vec<(u32, f64)> {
        self.touched.sort_unstable();
        self.touched.dedup();
        let values = &mut self.values;
        let row = self.touched.drain(..).map(|c| (c, std::mem::take(&mut values[c as usize])));
        row.filter(|&(_, v)| v != 0.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_sums_are_those_of_matrices() {
        let a = Sparse::from_rows(2, [vec![(0, 1.0), (1, 2.0), (0, 1.0)], vec![(1, -1.0)]].into_iter());
        let b = Sparse::from_rows(3, [vec![(2, 1.0)], vec![(0, 3.0), (2, -1.0)]].into_iter());
        let x = [1.0, 10.0, 100.0];
        assert_eq!(a.after(&b).apply(&x), a.apply(&b.apply(&x)));
        assert_eq!(a.after(&b).rows[0], [(0, 6.0)], "2 - 2 is dropped");
        assert_eq!(a.plus(&Sparse::identity(2)).apply(&[1.0, 1.0]), [5.0, 0.0]);
        assert_eq!((a.diagonal(), Sparse::identity(2).diagonal()), (None, Some(vec![1.0, 1.0])));
        assert_eq!((a.entries(), a.widest_row()), (3, 2));
    }
}
