//! Sliding windows: the attributes that Conv and the pools share, and 1-d as 2-d.

use super::builder::{Builder, Fault, Value, malformed, unsupported};
use super::node::OnnxNode;
use crate::op::{Op, Reduction, ValueId, Window};

/// Runs `build` on `x` as `[n, c, h, w]`: an input `[n, c, w]` gets height 1 for the
/// while.
pub(crate) fn lifted(
    b: &mut Builder,
    x: ValueId,
    build: impl FnOnce(&mut Builder, ValueId) -> Result<ValueId, Fault>,
) -> Result<Vec<Value>, Fault> {
    let dims = b.dims(x).to_vec();
    let y = match dims.len() {
        3 => {
            let x = b.reshape(x, with_height(&dims))?;
            let y = build(b, x)?;
            let [n, c, _, w] = *b.dims(y) else { return malformed("its result has no height") };
            b.reshape(y, vec![n, c, w])?
        }
        4 => build(b, x)?,
        r @ 0..=2 => return malformed(format!("its input has rank {r}; windows need [n, c, w] or [n, c, h, w]")),
        r => return unsupported(format!("{}-d windows are not supported, only 1-d and 2-d", r - 2)),
    };
    Ok(vec![Value::Node(y)])
}

/// `[a, b, w]` as `[a, b, 1, w]`.
pub(crate) fn with_height(dims: &[usize]) -> Vec<usize> {
    match *dims {
        [a, b, w] => vec![a, b, 1, w],
        _ => dims.to_vec(),
    }
}

/// The window of a node over an input of `size` (height, width); `spatial` is how many
/// axes its attributes speak of.
pub(crate) fn read(n: &OnnxNode, size: &[usize], kernel: (usize, usize), spatial: usize) -> Result<Window, Fault> {
    let pair = |name: &str| -> Result<(usize, usize), Fault> { Ok(pair(&n.sizes(name, spatial, 1, 1)?, 1)) };
    let pads = n.sizes("pads", 2 * spatial, 0, 0)?;
    let mut window = Window {
        kernel,
        strides: pair("strides")?,
        dilations: pair("dilations")?,
        pads_begin: self::pair(&pads[..spatial], 0),
        pads_end: self::pair(&pads[spatial..], 0),
        ceil: n.flag("ceil_mode"),
    };
    match n.string("auto_pad").as_deref() {
        None | Some("" | "NOTSET") => {}
        Some("VALID") => (window.pads_begin, window.pads_end) = ((0, 0), (0, 0)),
        Some("SAME_UPPER") => same(&mut window, size, false)?,
        Some("SAME_LOWER") => same(&mut window, size, true)?,
        Some(other) => return malformed(format!("auto_pad is '{other}'")),
    }
    Ok(window)
}

/// Values for the last axes as `(height, width)`.
fn pair(values: &[usize], fill: usize) -> (usize, usize) {
    match *values {
        [w] => (fill, w),
        [h, w] => (h, w),
        _ => (fill, fill),
    }
}

/// `auto_pad`: as many outputs as strides fit into the input; the odd element goes to the
/// end, or to the beginning if `lower`.
fn same(window: &mut Window, size: &[usize], lower: bool) -> Result<(), Fault> {
    let axis = |size: usize, kernel: usize, stride: usize, dilation: usize| {
        let reach = (kernel - 1).checked_mul(dilation)?.checked_add(1)?;
        let last = (size.div_ceil(stride) - 1).checked_mul(stride)?;
        let total = last.checked_add(reach)?.saturating_sub(size);
        let (small, large) = (total / 2, total - total / 2);
        Some(if lower { (large, small) } else { (small, large) })
    };
    let h = axis(size[0], window.kernel.0, window.strides.0, window.dilations.0);
    let w = axis(size[1], window.kernel.1, window.strides.1, window.dilations.1);
    let (Some((top, bottom)), Some((left, right))) = (h, w) else { return malformed("its window is too large") };
    (window.pads_begin, window.pads_end) = ((top, left), (bottom, right));
    Ok(())
}

/// Output height and width over an input `[n, c, h, w]`.
pub(crate) fn output(window: &Window, x: &[usize]) -> Result<(usize, usize), Fault> {
    match window.output(x[2], x[3]) {
        Some(size) => Ok(size),
        None => malformed(format!(
            "a window of {}x{} does not fit an input of shape {x:?} with its padding",
            window.kernel.0, window.kernel.1
        )),
    }
}

/// MaxPool over 1 or 2 axes.
pub(crate) fn max_pool(b: &mut Builder, n: &OnnxNode) -> Result<Vec<Value>, Fault> {
    pool(b, n, Op::MaxPool)
}

/// AveragePool over 1 or 2 axes.
pub(crate) fn average_pool(b: &mut Builder, n: &OnnxNode) -> Result<Vec<Value>, Fault> {
    let count_include_pad = n.flag("count_include_pad");
    pool(b, n, |window| Op::AveragePool { window, count_include_pad })
}

fn pool(b: &mut Builder, n: &OnnxNode, op: impl FnOnce(Window) -> Op) -> Result<Vec<Value>, Fault> {
    let x = n.value(b, 0)?;
    let spatial = b.dims(x).len().saturating_sub(2);
    lifted(b, x, |b, x| {
        if n.ints("kernel_shape").is_none() {
            return malformed("it has no kernel_shape");
        }
        let kernel = pair(&n.sizes("kernel_shape", spatial, 1, 1)?, 1);
        let dims = b.dims(x).to_vec();
        let window = read(n, &dims[2..], kernel, spatial)?;
        refuse_empty_windows(&window)?;
        let (h, w) = output(&window, &dims)?;
        let results = [dims[0], dims[1], h, w].into_iter().fold(1usize, usize::saturating_mul);
        b.check_gathered(results, window.kernel.0.saturating_mul(window.kernel.1))?;
        b.emit(op(window), vec![x], vec![dims[0], dims[1], h, w])
    })
}

/// ONNX requires less padding than window: else a window may cover padding alone, which
/// has no largest value and no mean.
fn refuse_empty_windows(w: &Window) -> Result<(), Fault> {
    let covered = |kernel: usize, dilation: usize, pad: usize| (kernel - 1).saturating_mul(dilation) >= pad;
    let axes = [
        (w.kernel.0, w.dilations.0, w.pads_begin.0.max(w.pads_end.0)),
        (w.kernel.1, w.dilations.1, w.pads_begin.1.max(w.pads_end.1)),
    ];
    match axes.iter().all(|&(k, d, p)| covered(k, d, p)) {
        true => Ok(()),
        false => malformed("its padding is as large as its window"),
    }
}

/// GlobalAveragePool.
pub(crate) fn global_average(b: &mut Builder, n: &OnnxNode) -> Result<Vec<Value>, Fault> {
    global(b, n, Reduction::Mean)
}

/// GlobalMaxPool.
pub(crate) fn global_max(b: &mut Builder, n: &OnnxNode) -> Result<Vec<Value>, Fault> {
    global(b, n, Reduction::Max)
}

fn global(b: &mut Builder, n: &OnnxNode, kind: Reduction) -> Result<Vec<Value>, Fault> {
    let x = n.value(b, 0)?;
    let mut dims = b.dims(x).to_vec();
    if dims.len() < 3 {
        return malformed(format!("its input of shape {dims:?} has nothing to pool over"));
    }
    dims[2..].fill(1);
    let axes = (2..dims.len()).collect();
    Ok(vec![Value::Node(b.emit(Op::Reduce { kind, axes }, vec![x], dims)?)])
}
