//! The plan dump: one instruction a line.

use super::{FixedOp, Inst, Program};
use std::fmt;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ring {}, {} instructions", self.ring, self.insts.len())?;
        for (id, inst) in self.insts.iter().enumerate() {
            writeln!(f, "{id:>5}  {inst}")?;
        }
        writeln!(f, "outputs {:?}", self.outputs)
    }
}

impl fmt::Display for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let constant = if self.batched { "" } else { " constant" };
        write!(
            f,
            "{:<44} {} frac {} bits {}{constant}  node {}",
            self.op.to_string(),
            self.shape,
            self.frac,
            self.bits,
            self.node
        )
    }
}

/// The operation with its operands; long public tensors are shown by their length.
impl fmt::Display for FixedOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { index } => write!(f, "input {index}"),
            Self::Weight { index } => write!(f, "weight {index}"),
            Self::Public { values } => write!(f, "public ({} values)", values.len()),
            Self::MatMul { x, y, dims } => {
                write!(f, "matmul %{x} %{y} {}x[{}, {}]x[{}, {}]", dims.groups, dims.m, dims.k, dims.k, dims.n)
            }
            Self::Conv { x, w, geometry: g } => {
                write!(f, "conv %{x} %{w} {}->{} {}x{}", g.c, g.o, g.kernel.0, g.kernel.1)
            }
            Self::Mul { x, y } => write!(f, "mul %{x} %{y}"),
            Self::Add { x, y } => write!(f, "add %{x} %{y}"),
            Self::Sub { x, y } => write!(f, "sub %{x} %{y}"),
            Self::MulPublic { x, by } => write!(f, "mul_public %{x} {by}"),
            Self::Scale { x, by } => write!(f, "scale %{x} ({} values)", by.len()),
            Self::Trunc { x, shift } => write!(f, "trunc %{x} {shift}"),
            Self::Relu { x } => write!(f, "relu %{x}"),
            Self::TruncRelu { x, shift, bits_truncated } => {
                write!(f, "trunc_relu %{x} {shift} (to {bits_truncated} bits)")
            }
            Self::Ltz { x } => write!(f, "ltz %{x}"),
            Self::Layout { x, map } => write!(f, "layout %{x} ({} elements)", map.len()),
            Self::Concat { xs } => write!(f, "concat {}", xs.iter().map(|x| format!("%{x} ")).collect::<String>()),
            Self::Sum { x, len, inner } => write!(f, "sum %{x} {len} (inner {inner})"),
        }
    }
}
