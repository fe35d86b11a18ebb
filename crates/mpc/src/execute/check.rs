//! Whether a program is one that can be executed: then no index below can miss.

use crate::Error;
use subrosa_graph::program::Id;
use subrosa_graph::{FixedOp, Program};

/// **Errors:** [`Error::Misuse`] naming the first instruction that reads what is not there
/// or whose sizes contradict each other.
pub(super) fn check(program: &Program) -> Result<(), Error> {
    let len = |id: Id| program.insts.get(id).map_or(0, |i| i.shape.len());
    let ends = program.inputs.iter().chain(&program.outputs);
    if ends.copied().any(|id| id >= program.insts.len()) {
        return Err(Error::Misuse("a program's inputs or outputs are not among its instructions".into()));
    }
    for (id, inst) in program.insts.iter().enumerate() {
        let earlier = inst.op.operands().iter().all(|&x| x < id);
        if !earlier
            || !axes_agree(program, &inst.op, inst.batched)
            || !sizes_agree(program, &inst.op, inst.shape.len(), len)
        {
            return Err(Error::Misuse(format!("instruction {id} of the program contradicts its operands")));
        }
    }
    Ok(())
}

/// Whether a value has a batch axis exactly if one of those it is made of has, and products
/// have theirs where the kernels expect them.
fn axes_agree(program: &Program, op: &FixedOp, batched: bool) -> bool {
    let is_batched = |id: Id| program.insts.get(id).is_some_and(|i| i.batched);
    match op {
        FixedOp::Input { .. } => batched,
        FixedOp::Weight { .. } | FixedOp::Public { .. } => !batched,
        FixedOp::MatMul { x, .. } => batched && is_batched(*x),
        FixedOp::Conv { x, w, .. } => batched && is_batched(*x) && !is_batched(*w),
        FixedOp::Mul { .. }
        | FixedOp::Add { .. }
        | FixedOp::Sub { .. }
        | FixedOp::Scale { .. }
        | FixedOp::MulPublic { .. }
        | FixedOp::Trunc { .. }
        | FixedOp::Relu { .. }
        | FixedOp::TruncRelu { .. }
        | FixedOp::Ltz { .. }
        | FixedOp::Layout { .. }
        | FixedOp::Concat { .. }
        | FixedOp::Sum { .. } => batched == op.operands().into_iter().any(is_batched),
    }
}

fn sizes_agree(program: &Program, op: &FixedOp, out: usize, len: impl Fn(Id) -> usize) -> bool {
    match op {
        FixedOp::Input { index } => *index < program.inputs.len(),
        FixedOp::Weight { index } => program.weights.get(*index).is_some_and(|w| w.shape.len() == out),
        FixedOp::Public { values } => values.len() == out,
        FixedOp::MatMul { x, y, dims } => {
            let one = dims.k * dims.n;
            let right = [one, dims.groups * one].contains(&len(*y));
            right && len(*x) == dims.groups * dims.m * dims.k && out == dims.groups * dims.m * dims.n
        }
        FixedOp::Conv { x, w, geometry: g } => {
            let weights = g.o * g.c.checked_div(g.groups).unwrap_or(0) * g.kernel.0 * g.kernel.1;
            let (input, output) = (g.c * g.input.0 * g.input.1, g.o * g.output.0 * g.output.1);
            len(*x) == input && len(*w) == weights && out == output
        }
        FixedOp::Mul { x, y } | FixedOp::Add { x, y } | FixedOp::Sub { x, y } => len(*x) == out && len(*y) == out,
        FixedOp::Scale { x, by } => len(*x) == out && by.len() == out,
        FixedOp::MulPublic { x, .. }
        | FixedOp::Trunc { x, .. }
        | FixedOp::Relu { x }
        | FixedOp::TruncRelu { x, .. }
        | FixedOp::Ltz { x } => len(*x) == out,
        FixedOp::Layout { x, map } => map.len() == out && map.iter().max().is_none_or(|&i| (i as usize) < len(*x)),
        FixedOp::Concat { xs } => xs.iter().map(|&x| len(x)).sum::<usize>() == out,
        FixedOp::Sum { x, len: run, inner } => {
            *run > 0 && *inner > 0 && len(*x) == out * run && out.is_multiple_of(*inner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use subrosa_core::{RingWidth, Shape};
    use subrosa_graph::Inst;

    fn program(ops: Vec<(FixedOp, usize)>) -> Program {
        let inst =
            |(op, n): (FixedOp, usize)| Inst { op, shape: Shape::vector(n), frac: 0, bits: 8, batched: true, node: 0 };
        let insts: Vec<Inst> = ops.into_iter().map(inst).collect();
        let outputs = vec![insts.len().saturating_sub(1)];
        Program { ring: RingWidth::W32, insts, inputs: vec![0], outputs, weights: vec![] }
    }

    #[test]
    fn contradictions_are_found() {
        let input = || (FixedOp::Input { index: 0 }, 4);
        assert_eq!(check(&program(vec![input(), (FixedOp::Relu { x: 0 }, 4)])), Ok(()));
        for bad in [
            (FixedOp::Relu { x: 1 }, 4),
            (FixedOp::Relu { x: 0 }, 5),
            (FixedOp::Input { index: 1 }, 4),
            (FixedOp::Weight { index: 0 }, 4),
            (FixedOp::Layout { x: 0, map: vec![4] }, 1),
            (FixedOp::Sum { x: 0, len: 0, inner: 1 }, 4),
            (FixedOp::Sum { x: 0, len: 3, inner: 1 }, 1),
            (FixedOp::Concat { xs: vec![0, 0] }, 7),
            (FixedOp::Scale { x: 0, by: vec![1] }, 4),
        ] {
            let at = format!("{bad:?}");
            assert!(check(&program(vec![input(), bad])).is_err(), "{at}");
        }
        assert!(check(&program(vec![])).is_err());
    }
}
