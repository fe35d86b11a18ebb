//! Products: `x y = (c + m)(c' + m') = c c' + c m' + m c' + m m'`.
//!
//! Computing party `i` computes `c m'_i + m_i c'`, and party 1 `c c'` with it, the dealer
//! `m m'`: each term where its factors are first known. The dealer's is known in the
//! preprocessing, and so is every term of a factor that was dealt before it (a weight): then
//! one product is left for the time when the input is there, at each computing party.

use super::Masked;
use super::cast::Cast;
use super::deal::{Material, Parts};
use super::share::{Product, Share, zip};
use crate::Error;
use crate::protocol::Primitive;
use std::sync::Arc;
use subrosa_ring::{Ring, Word};

impl<R: Ring, C: Cast> Masked<R, C> {
    /// This party's part, computed now, of a bilinear map with `len` results; `acc` adds its
    /// value on two vectors to a third.
    pub(super) fn bilinear(
        &mut self,
        call: Primitive,
        x: &Share<R::Word>,
        y: &Share<R::Word>,
        len: usize,
        acc: impl Fn(&[R::Word], &[R::Word], &mut [R::Word]),
    ) -> Result<Product<R::Word>, Error> {
        let stored = self.factors(call, x, y)?;
        let [stored_x, stored_y] = stored.as_ref().map_or(&[None, None], |m| &m.parts.factors);
        let x_mask = x.mask.as_ref().or(stored_x.as_ref());
        let y_mask = y.mask.as_ref().or(stored_y.as_ref());
        let terms = self.terms(x, y);
        let mut sum = Sum { z: None, len, acc };
        if terms.masks {
            sum.add(x_mask, y_mask);
        }
        match (terms.of_x_value, terms.values) {
            // c m' + c c' = c (m' + c')
            (true, true) => match (&y.both, y_mask, &y.value) {
                (Some(both), _, _) => sum.add(x.value.as_ref(), Some(both)),
                (None, Some(m), Some(c)) => sum.add(x.value.as_ref(), Some(&Arc::new(zip(m, c, Word::add)))),
                (None, _, _) => return Err(missing::<C>(call)),
            },
            (true, false) => sum.add(x.value.as_ref(), y_mask),
            (false, true) => sum.add(x.value.as_ref(), y.value.as_ref()),
            (false, false) => {}
        }
        if terms.of_y_value {
            sum.add(x_mask, y.value.as_ref());
        }
        Ok(Product { n: len, z: sum.z })
    }

    /// Where neither factor is known before: keeps their masks for the time online.
    fn factors(
        &mut self,
        call: Primitive,
        x: &Share<R::Word>,
        y: &Share<R::Word>,
    ) -> Result<Option<Material<R::Word>>, Error> {
        match (x.known || y.known, self.is_offline()) {
            (true, _) => Ok(None),
            (false, false) => self.take(call).map(Some),
            (false, true) => {
                let mut parts = Parts::default();
                if !self.is_dealer() {
                    parts.factors = [x.mask.clone(), y.mask.clone()];
                }
                self.keep(call, parts)?;
                Ok(None)
            }
        }
    }

    /// Which terms are this party's and computed in this stage.
    fn terms(&self, x: &Share<R::Word>, y: &Share<R::Word>) -> Terms {
        let offline = self.is_offline();
        let mine = !self.is_dealer();
        Terms {
            masks: self.is_dealer() && offline,
            of_x_value: mine && x.known == offline,
            of_y_value: mine && y.known == offline,
            values: self.me == 1 && (x.known && y.known) == offline,
        }
    }
}

/// Terms of a product.
struct Terms {
    /// `m m'`.
    masks: bool,
    /// `c m'`.
    of_x_value: bool,
    /// `m c'`.
    of_y_value: bool,
    /// `c c'`.
    values: bool,
}

struct Sum<W, F> {
    z: Option<Vec<W>>,
    len: usize,
    acc: F,
}

impl<W: Word, F: Fn(&[W], &[W], &mut [W])> Sum<W, F> {
    /// Adds the product of two vectors that are there in this stage.
    fn add(&mut self, x: Option<&Arc<Vec<W>>>, y: Option<&Arc<Vec<W>>>) {
        let z = self.z.get_or_insert_with(|| vec![W::default(); self.len]);
        if let (Some(x), Some(y)) = (x, y) {
            (self.acc)(x, y, z);
        }
    }
}

pub(super) fn missing<C: Cast>(call: Primitive) -> Error {
    Error::Misuse(format!("{}: {call:?} was called, which was not prepared", C::NAME))
}
