//! A program as bytes, for parties that do not have the model.

use super::{FixedOp, Inst, Program};
use crate::Error;
use subrosa_core::MAX_ELEMENTS;
use subrosa_core::geometry::{ConvGeometry, MatDims};

/// Names the format; changes whenever the layout or the meaning of an operation does.
const MAGIC: &[u8; 8] = b"SROPROG1";

impl Program {
    /// The program as bytes: a magic number, then its fields in order of declaration
    /// (variable-length little-endian integers).
    ///
    /// **Errors:** [`Error::Malformed`] if it cannot be written, which no lowered program
    /// brings about.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        postcard::to_extend(self, MAGIC.to_vec()).map_err(|e| Error::Malformed(format!("the program: {e}")))
    }

    /// A program from such bytes. Every size in it is bounded by
    /// [`MAX_ELEMENTS`], so that no arithmetic on sizes overflows later;
    /// whether instructions fit together is for the executor to check.
    ///
    /// **Errors:** [`Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let body = bytes.strip_prefix(MAGIC).ok_or_else(|| malformed("it is none, or one of another version"))?;
        let (program, rest): (Self, _) =
            postcard::take_from_bytes(body).map_err(|e| malformed(&format!("it is damaged: {e}")))?;
        if !rest.is_empty() {
            return Err(malformed("it is followed by other data"));
        }
        match program.insts.iter().position(|i| !bounded(i, program.ring.bits())) {
            Some(id) => Err(malformed(&format!("instruction {id} has impossible sizes"))),
            None => Ok(program),
        }
    }
}

fn malformed(why: &str) -> Error {
    Error::Malformed(format!("a program was expected, but {why}"))
}

/// Whether no product of sizes in `inst` exceeds what a tensor may have, and its widths
/// are those of the ring.
fn bounded(inst: &Inst, k: u32) -> bool {
    let Inst { op, shape: _, frac, bits, batched: _, node: _ } = inst;
    // Real fractions are below the ring's width; a public factor may briefly add to them.
    *bits <= k && *frac <= 2 * k && sizes_bounded(op, k)
}

fn sizes_bounded(op: &FixedOp, k: u32) -> bool {
    match op {
        FixedOp::MatMul { x: _, y: _, dims: MatDims { groups, m, k, n } } => {
            small(&[*groups, *m, *k]) && small(&[*groups, *k, *n]) && small(&[*groups, *m, *n])
        }
        FixedOp::Conv { x: _, w: _, geometry } => geometry_bounded(geometry),
        FixedOp::Sum { x: _, len, inner } => small(&[*len, *inner]),
        FixedOp::Trunc { x: _, shift } => *shift < k,
        FixedOp::TruncRelu { x: _, shift, bits_truncated } => *shift < k && *bits_truncated <= k,
        FixedOp::Public { values } => small(&[values.len()]),
        FixedOp::Scale { x: _, by } => small(&[by.len()]),
        FixedOp::Layout { x: _, map } => small(&[map.len()]),
        FixedOp::Concat { xs } => small(&[xs.len()]),
        FixedOp::Input { .. }
        | FixedOp::Weight { .. }
        | FixedOp::Mul { .. }
        | FixedOp::Add { .. }
        | FixedOp::Sub { .. }
        | FixedOp::MulPublic { .. }
        | FixedOp::Relu { .. }
        | FixedOp::Ltz { .. } => true,
    }
}

fn geometry_bounded(geometry: &ConvGeometry) -> bool {
    let ConvGeometry { c, input, o, output, kernel, strides, dilations, pads, groups } = *geometry;
    // Strides, dilations and paddings below 2^15 keep every coordinate far from overflow.
    let steps = [strides, dilations, pads].iter().all(|&(h, w)| h < 1 << 15 && w < 1 << 15);
    let reach = |out: usize, stride: usize, k: usize, dilation: usize| {
        small(&[out, stride.max(1)]) && small(&[k, dilation.max(1)])
    };
    let divides = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
    steps
        && strides.0 > 0
        && strides.1 > 0
        && divides(c)
        && divides(o)
        && small(&[c, input.0, input.1])
        && small(&[o, output.0, output.1])
        && small(&[o, c, kernel.0, kernel.1])
        && reach(output.0, strides.0, kernel.0, dilations.0)
        && reach(output.1, strides.1, kernel.1, dilations.1)
}

/// Whether the product of `sizes` is a number of elements that a tensor may have.
fn small(sizes: &[usize]) -> bool {
    let product = sizes.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    sizes.iter().all(|&n| n <= MAX_ELEMENTS) && product.is_some_and(|n| n <= MAX_ELEMENTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use subrosa_core::{RingWidth, Shape};

    fn program(op: FixedOp) -> Program {
        let inst = |op| Inst { op, shape: Shape::vector(4), frac: 8, bits: 12, batched: true, node: 0 };
        let insts = vec![inst(FixedOp::Input { index: 0 }), inst(op)];
        Program { ring: RingWidth::W32, insts, inputs: vec![0], outputs: vec![1], weights: vec![] }
    }

    #[test]
    fn programs_round_trip() {
        let made = program(FixedOp::TruncRelu { x: 0, shift: 4, bits_truncated: 9 });
        let read = Program::decode(&made.encode().unwrap()).unwrap();
        assert_eq!(read.digest(), made.digest());
        assert_eq!(read.to_string(), made.to_string());
    }

    #[test]
    fn damaged_bytes_are_refused_or_another_program_but_never_a_panic() {
        let dims = MatDims { groups: 1, m: 2, k: 2, n: 2 };
        let bytes = program(FixedOp::MatMul { x: 0, y: 0, dims }).encode().unwrap();
        for len in 0..bytes.len() {
            assert!(Program::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[i] ^= 1 << bit;
                let _ = Program::decode(&damaged);
            }
        }
        assert!(Program::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let refused = |op| Program::decode(&program(op).encode().unwrap()).is_err();
        let dims = |m, k| MatDims { groups: 1, m, k, n: 2 };
        assert!(!refused(FixedOp::MatMul { x: 0, y: 0, dims: dims(2, 2) }));
        assert!(refused(FixedOp::MatMul { x: 0, y: 0, dims: dims(1 << 20, 1 << 20) }));
        assert!(refused(FixedOp::MatMul { x: 0, y: 0, dims: dims(usize::MAX, 2) }));
        assert!(refused(FixedOp::Sum { x: 0, len: usize::MAX, inner: 2 }));
        assert!(refused(FixedOp::Trunc { x: 0, shift: 32 }));
        let geometry = ConvGeometry {
            c: 1,
            input: (4, 4),
            o: 1,
            output: (2, 2),
            kernel: (3, 3),
            strides: (1, 1),
            dilations: (1, 1),
            pads: (0, 0),
            groups: 1,
        };
        assert!(!refused(FixedOp::Conv { x: 0, w: 0, geometry }));
        for bad in [
            ConvGeometry { groups: 0, ..geometry },
            ConvGeometry { strides: (0, 1), ..geometry },
            ConvGeometry { input: (1 << 31, 2), ..geometry },
            ConvGeometry { pads: (usize::MAX, 0), ..geometry },
        ] {
            assert!(refused(FixedOp::Conv { x: 0, w: 0, geometry: bad }), "{bad:?}");
        }
    }
}
