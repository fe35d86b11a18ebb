//! What a request may hold, counted before memory is taken for it: a few bytes on the wire are a
//! large thing in memory.

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Whether the bytes of a `ModelInferRequest` hold no more than a model could take: so many
/// tensors, names of outputs and raw contents, of so many dimensions. What is no message at all is
/// for the decoder to refuse.
pub(super) fn is_bounded(request: &[u8]) -> bool {
    let mut counts = [0usize; 3];
    fields(request, |tag, payload| {
        let at = match tag {
            INPUTS => 0,
            OUTPUTS => 1,
            RAW_INPUTS => 2,
            _ => return true,
        };
        counts[at] += 1;
        counts[at] <= MAX_TENSORS && (at > 0 || payload.is_some_and(is_tensor_bounded))
    })
}

fn is_tensor_bounded(tensor: &[u8]) -> bool {
    let mut dims = 0;
    fields(tensor, |tag, payload| {
        // Packed, a dimension has one byte at least.
        dims += if tag == SHAPE { payload.map_or(1, <[u8]>::len) } else { 0 };
        dims <= MAX_SHAPE_BYTES
    })
}

/// Shows the fields of a message, those with a length with what they hold, for as long as `look`
/// wants more; gives what it said last.
fn fields(mut message: &[u8], mut look: impl FnMut(u32, Option<&[u8]>) -> bool) -> bool {
    while !message.is_empty() {
        match field(&mut message) {
            Ok((tag, payload)) if !look(tag, payload) => return false,
            Ok(_) => {}
            Err(_) => return true,
        }
    }
    true
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Option<&'a [u8]>), DecodeError> {
    let (tag, kind) = decode_key(rest)?;
    if kind != WireType::LengthDelimited {
        skip_field(kind, tag, rest, DecodeContext::default())?;
        return Ok((tag, None));
    }
    let length = usize::try_from(decode_varint(rest)?).unwrap_or(usize::MAX);
    let all = *rest;
    let (payload, tail) = all.split_at_checked(length).unwrap_or((all, &[]));
    *rest = tail;
    Ok((tag, Some(payload)))
}

const INPUTS: u32 = 5;
const OUTPUTS: u32 = 6;
const RAW_INPUTS: u32 = 7;
const SHAPE: u32 = 3;

/// Tensors of one message: more than a model has.
const MAX_TENSORS: usize = 256;

/// 32 dimensions, of up to 10 bytes each.
const MAX_SHAPE_BYTES: usize = 320;

#[cfg(test)]
mod tests {
    use super::super::messages::{InferRequest, Tensor, Wanted};
    use super::*;
    use prost::Message;
    use prost::bytes::Bytes;

    fn tensor(dims: usize) -> Tensor {
        Tensor { shape: vec![1; dims], ..Tensor::default() }
    }

    fn bounded(request: &InferRequest) -> bool {
        is_bounded(&request.encode_to_vec())
    }

    #[test]
    fn a_request_has_few_of_everything() {
        let few = InferRequest { inputs: vec![tensor(32); 256], id: "x".repeat(5000), ..InferRequest::default() };
        assert!(bounded(&few) && bounded(&InferRequest::default()));
        let many = |inputs, outputs, raw_inputs| {
            bounded(&InferRequest { inputs, outputs, raw_inputs, ..InferRequest::default() })
        };
        assert!(!many(vec![tensor(1); 257], vec![], vec![]));
        assert!(!many(vec![], vec![Wanted::default(); 257], vec![]));
        assert!(!many(vec![], vec![], vec![Bytes::new(); 257]));
        assert!(!many(vec![tensor(321)], vec![], vec![]));
        // One dimension a field, as writers may.
        let loose: Vec<u8> = [3 << 3, 1].repeat(321);
        let prefix = [5 << 3 | 2, 0x82, 0x05];
        assert_eq!(loose.len(), 0x282);
        assert!(!is_bounded(&[&prefix[..], &loose].concat()));
    }

    #[test]
    fn what_is_no_message_is_for_the_decoder() {
        for bytes in [&b"\xff"[..], b"\x2a\xff", b"\x2a\x05a", b"\x0f", b"\x28\x01"] {
            let _ = is_bounded(bytes);
        }
    }
}
