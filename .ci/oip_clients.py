"""The same questions through tritonclient over HTTP and over gRPC: `oip_clients.py HTTP GRPC`."""

import os
import sys

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

BATCH = 3
# Lower case, as HTTP/2 has it.
HEADERS = {"authorization": f"Bearer {os.environ['SUBROSA_API_KEY']}"}
IMAGES = (np.arange(BATCH * 784) * 7 % 31 / 31).astype(np.float32).reshape(BATCH, 1, 28, 28)


def values(api, client, raw):
    """What the model says of the images; over HTTP as bytes or, if not raw, as JSON."""
    about = client.get_model_metadata("mlp", headers=HEADERS)
    about = about if isinstance(about, dict) else {
        "name": about.name,
        "inputs": [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in about.inputs],
        "outputs": [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in about.outputs],
    }
    assert about["name"] == "mlp", about
    given, taken = about["inputs"][0], about["outputs"][0]
    assert (given["datatype"], given["shape"]) == ("FP32", [-1, 1, 28, 28]), given
    tensor = api.InferInput(given["name"], list(IMAGES.shape), "FP32")
    options = {} if api is tritonclient.grpc else {"binary_data": raw}
    tensor.set_data_from_numpy(IMAGES, **options)
    wanted = [api.InferRequestedOutput(taken["name"], **options)]
    # A copy: the client over HTTP adds the length of this request's JSON to what it is given.
    answer = client.infer("mlp", [tensor], outputs=wanted, request_id="ci", headers=dict(HEADERS))
    found = answer.as_numpy(taken["name"])
    assert found.shape == (BATCH, 10) and found.dtype == np.float32, found
    return found


def refused(call, code):
    try:
        call()
    except InferenceServerException as error:
        assert code in str(error.status()), (code, error)
    else:
        raise AssertionError(f"not refused with {code}")


def main(http, grpc):
    found = []
    for api, address, codes in [
        (tritonclient.http, http, ("404", "401")),
        (tritonclient.grpc, grpc, ("NOT_FOUND", "UNAUTHENTICATED")),
    ]:
        client = api.InferenceServerClient(address)
        # Health needs no key.
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("mlp", headers=HEADERS)
        about = client.get_server_metadata(headers=HEADERS)
        name, extensions = (about["name"], about["extensions"]) if isinstance(about, dict) else (about.name, about.extensions)
        assert name == "subrosa" and "binary_tensor_data" in extensions, about
        refused(lambda: client.get_model_metadata("none", headers=HEADERS), codes[0])
        refused(lambda: client.get_model_metadata("mlp"), codes[1])
        found += [values(api, client, raw) for raw in (True, False)]
        client.close()
    assert all(np.allclose(found[0], other, atol=1e-4) for other in found), found
    assert not np.allclose(found[0], 0)
    print(f"tritonclient over HTTP (bytes and JSON) and gRPC: {BATCH} samples each, the same answers")


if __name__ == "__main__":
    main(*sys.argv[1:])
