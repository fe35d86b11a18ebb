//! Products of shares.

use super::bilinear::Bilinear;
use super::deal::Factors;
use super::material::{Material, Parts};
use super::share::{HELD, HELPER, PUBLIC, Product, Share};
use super::{Crew, Vouched};
use crate::Error;
use crate::masked::zip;
use crate::protocol::Primitive;
use subrosa_ring::{Ring, Word};

impl<R: Ring, C: Crew> Vouched<R, C> {
    /// What this party computes now of a bilinear map.
    ///
    /// `x y = c c' + c m' + m c' + m m'`: the last in the preprocessing, as terms; of the others
    /// those of the pieces held, each where its factors are first known.
    pub(super) fn bilinear(
        &mut self,
        call: Primitive,
        map: Bilinear,
        x: &Share<R::Word>,
        y: &Share<R::Word>,
    ) -> Result<Product<R::Word>, Error> {
        let len = map.outputs();
        let stored = self.factors(call, x, y)?;
        let none = <[Vec<_>; 2]>::default();
        let [stored_x, stored_y] = stored.as_ref().map_or(&none, |m| &m.parts.factors);
        let x_masks = if x.masks.is_empty() { stored_x } else { &x.masks };
        let y_masks = if y.masks.is_empty() { stored_y } else { &y.masks };
        let (crossed, dealt) = match (self.offline, C::HELPED) {
            (false, _) => Default::default(),
            (true, true) => (self.crossed(&Factors::whole(map, x_masks, y_masks)), Vec::new()),
            // What nobody vouches for is proven product by product: at once, before linear maps.
            (true, false) => (Vec::new(), self.multiply_one(Factors::whole(map, x_masks, y_masks))?),
        };
        let now = |known: bool| known == self.offline;
        let (Some(c), Some(c_y)) = (x.value.as_ref().or(y.value.as_ref()), y.value.as_ref().or(x.value.as_ref()))
        else {
            return Ok(Product { n: len, pieces: dealt, crossed });
        };
        let mut pieces = Vec::new();
        for (at, &piece) in HELD.get(self.me).copied().unwrap_or_default().iter().enumerate() {
            let mut z = dealt.get(at).cloned().unwrap_or_else(|| vec![R::Word::default(); len]);
            let values = piece == PUBLIC && now(x.known && y.known);
            if let (true, Some(m)) = (now(x.known), y_masks.get(at)) {
                match (values, &y.both) {
                    // c m' + c c' = c (m' + c')
                    (true, Some(both)) => map.add(c, both, &mut z),
                    (true, None) => map.add(c, &zip(m, c_y, Word::add), &mut z),
                    (false, _) => map.add(c, m, &mut z),
                }
            } else if values {
                map.add(c, c_y, &mut z);
            }
            if let (true, Some(m)) = (now(y.known), x_masks.get(at)) {
                map.add(m, c_y, &mut z);
            }
            pieces.push(z);
        }
        Ok(Product { n: len, pieces, crossed })
    }

    /// Where neither factor is known before: keeps their masks for the time online.
    fn factors(
        &mut self,
        call: Primitive,
        x: &Share<R::Word>,
        y: &Share<R::Word>,
    ) -> Result<Option<Material<R::Word>>, Error> {
        match (x.known || y.known, self.offline) {
            (true, _) => Ok(None),
            (false, false) => self.take(call).map(Some),
            (false, true) => {
                let factors = if self.me == HELPER { Default::default() } else { [x.masks.clone(), y.masks.clone()] };
                self.keep(call, Parts { factors, ..Parts::default() });
                Ok(None)
            }
        }
    }
}
