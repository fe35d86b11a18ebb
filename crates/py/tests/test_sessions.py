"""Sessions, plans, comparisons and errors."""

import threading
import time

import numpy as np
import pytest

import subrosa


def protected(model, images, **options):
    return subrosa.InferenceSession(model, input_range=(0, 1), **options).run(None, {"input": images})[0]


@pytest.fixture(scope="module")
def plain(model, digits):
    return {
        name: subrosa.InferenceSession(model(name), via="plain").run(None, {"input": digits[0]})[0]
        for name in ("mlp", "mlp_square", "lenet")
    }


@pytest.mark.parametrize("via", [b["via"] for b in subrosa.backends() if b["via"] not in ("plain", "tee")])
def test_every_protection_gives_the_plain_result(via, model, digits, plain):
    # Ckks takes polynomial models; a few images, since a session of it is for one at a time.
    name, count = ("mlp_square", 3) if via == "ckks" else ("mlp", 100)
    images = digits[0][:count]
    options = {"calibrate": digits[0]} if via == "ckks" else {"input_range": (0, 1)}
    session = subrosa.InferenceSession(model(name), via=via, **options)
    [logits] = session.run(None, {"input": images})
    assert logits.shape == (count, 10) and logits.dtype == np.float32
    # Logits are some tens large; fixed point of 12 fraction bits and more errs far less.
    assert np.abs(logits - plain[name][:count]).max() < 0.1
    assert (logits.argmax(1) == plain[name][:count].argmax(1)).all()
    assert session.report.samples == count and session.report.bytes_online > 0


def test_the_interface_is_onnx_runtimes(model, digits):
    session = subrosa.InferenceSession(model("mlp"), via="plain")
    [port] = session.get_inputs()
    assert (port.name, port.shape, port.type) == ("input", ["N", 1, 28, 28], "tensor(float)")
    [output] = session.get_outputs()
    assert output.shape == ["N", 10]
    by_name = session.run([output.name], {"input": digits[0][:2]})
    assert (by_name[0] == session.run(None, digits[0][:2])[0]).all()
    with pytest.raises(subrosa.InputError, match="no output 'nonsense'"):
        session.run(["nonsense"], digits[0][:2])


def test_accuracy_and_labels(model, digits):
    images, labels = digits
    session = subrosa.InferenceSession(model("lenet"), via="rep3", input_range=(0, 1))
    assert (session.predict(images) == labels).mean() >= 0.99


def test_a_run_is_cut_into_batches_with_a_remainder(model, digits, plain):
    session = subrosa.InferenceSession(model("mlp"), via="rep3", input_range=(0, 1), batch=7)
    [logits] = session.run(None, digits[0][:17])
    assert logits.shape == (17, 10)
    assert np.abs(logits - plain["mlp"][:17]).max() < 0.1
    assert session.report.rounds == 3 * subrosa.plan(model("mlp"), input_range=(0, 1)).sheet["fixed"]["online"]["rounds"]


def test_only_labels_may_be_opened(model, digits, plain):
    session = subrosa.InferenceSession(model("mlp"), via="rep3", input_range=(0, 1), reveal="label")
    [labels] = session.run(None, digits[0][:8])
    assert labels.dtype == np.int64
    assert (labels.ravel() == plain["mlp"][:8].argmax(1)).all()


def test_inputs_of_other_number_types_are_taken(model, digits):
    session = subrosa.InferenceSession(model("mlp"), via="plain")
    images = digits[0][:2]
    wanted = session.run(None, images)[0]
    assert (session.run(None, images.astype(np.float64))[0] == wanted).all()
    assert (session.run(None, images.reshape(2, 784))[0] == wanted).all()
    assert (session.run(None, np.asfortranarray(images))[0] == wanted).all()
    assert (session.run(None, [images])[0] == wanted).all()


def test_what_weakens_the_claim_is_stamped_into_the_report(model, digits):
    for options, flags in [
        ({}, []),
        ({"public_weights": True}, ["public-weights"]),
        ({"via": "beaver", "public_weights": True, "insecure_self_dealer": True}, ["public-weights", "self-dealer"]),
    ]:
        session = subrosa.InferenceSession(model("mlp"), input_range=(0, 1), **options)
        session.run(None, digits[0][:1])
        assert session.report.insecure == flags
        assert f"insecure={flags!r}" in repr(session.report)
        assert f"<td>{', '.join(flags) or 'nothing'}</td>" in session.report._repr_html_()


def test_a_model_of_bytes_is_the_model_of_the_file(model, digits):
    session = subrosa.InferenceSession(model("mlp").read_bytes(), via="plain")
    other = subrosa.InferenceSession(model("mlp"), via="plain")
    assert (session.run(None, digits[0][:1])[0] == other.run(None, digits[0][:1])[0]).all()


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda m: subrosa.InferenceSession("missing.onnx"), subrosa.IoError, "missing.onnx"),
        (lambda m: subrosa.InferenceSession(b"no model"), subrosa.ModelError, ""),
        (lambda m: subrosa.InferenceSession(m("mlp"), via="rep7"), subrosa.MisuseError, "unknown backend 'rep7'"),
        (lambda m: subrosa.InferenceSession(m("mlp"), ring=7), subrosa.MisuseError, "32, 48 or 64"),
        (lambda m: subrosa.InferenceSession(m("mlp"), reveal="all"), subrosa.MisuseError, "'logits' or 'label'"),
        (lambda m: subrosa.InferenceSession(m("mlp"), batch=0), subrosa.MisuseError, "a batch of 0"),
        (lambda m: subrosa.InferenceSession(m("lenet"), via="ckks", input_range=(0, 1)), subrosa.PlanError, "ckks"),
        (lambda m: subrosa.InferenceSession(m("mlp"), network="far"), subrosa.MisuseError, "far"),
    ],
)
def test_errors_say_who_is_at_fault(make, error, words, model):
    with pytest.raises(error, match=words) as raised:
        make(model)
    assert isinstance(raised.value, subrosa.Error) and hasattr(raised.value, "hint")


@pytest.mark.parametrize(
    "feed, words",
    [
        (np.full((1, 784), np.nan), "is NaN"),
        (np.full((1, 784), 7.0), "outside the range"),
        (np.zeros((1, 783)), "but an array of shape"),
        (np.zeros((0, 784)), "but an array of shape"),
        (np.array([["a"] * 784]), "takes numbers"),
        ({"inptu": np.zeros((1, 784))}, "the model's inputs are input"),
        ([np.zeros((1, 784))] * 2, "but an array of shape|different"),
    ],
)
def test_bad_data_is_refused_and_the_session_goes_on(feed, words, model, digits, plain):
    session = subrosa.InferenceSession(model("mlp"), via="rep3", input_range=(0, 1))
    with pytest.raises(subrosa.InputError, match=words):
        # Two arrays for one input: four samples' worth of values that fit no sample.
        session.run(None, feed if not isinstance(feed, list) else [np.zeros((2, 700))])
    assert np.abs(session.run(None, digits[0][:1])[0] - plain["mlp"][:1]).max() < 0.1


def test_a_plan_prints_and_says_who_learns_what(model):
    plan = subrosa.plan(model("mlp"), via="rep3", input_range=(0, 1))
    assert "who learns what" in str(plan).lower() or "learns" in str(plan)
    assert plan.sheet["via"] == "rep3" and len(plan.digest) == 64
    assert plan.digest == subrosa.plan(model("mlp"), via="rep3", input_range=(0, 1)).digest
    assert plan.digest != subrosa.plan(model("mlp"), via="rep3", input_range=(0, 2)).digest
    assert plan._repr_html_().startswith("<pre>") and "<script" not in plan._repr_html_()


def test_backends_state_their_claims():
    found = {b["via"]: b for b in subrosa.backends()}
    assert {"plain", "rep3", "rep4", "beaver", "ckks"} <= found.keys()
    assert all(b["learns"] and b["summary"] for b in found.values())


def test_inspection_names_what_is_not_supported(model):
    assert subrosa.inspect(model("lenet"))["parameters"] > 400_000


def test_a_comparison_is_a_table(model, digits):
    table = subrosa.compare(model("mlp"), *digits, via=["plain", "rep3"], batch=100)
    assert [row["backend"] for row in table] == ["plain", "rep3"]
    assert table[1]["accuracy"] == table[0]["accuracy"] and table[1]["slowdown_vs_plain"] > 0
    frame = table.to_pandas()
    assert list(frame["backend"]) == ["plain", "rep3"]
    import pandas

    assert pandas.DataFrame(table).equals(frame)
    assert "<table>" in table._repr_html_() and table.page.lstrip().lower().startswith("<!doctype html")


def test_other_threads_run_while_a_session_computes(model, digits):
    session = subrosa.InferenceSession(model("lenet"), via="rep3", input_range=(0, 1))
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    session.run(None, digits[0])
    end = time.perf_counter()
    done.set()
    thread.join()
    # With the lock held there would be none but one at each end.
    assert sum(start < t < end for t in ticks) > 5


def test_a_session_may_be_used_from_several_threads(model, digits, plain):
    session = subrosa.InferenceSession(model("mlp"), via="rep3", input_range=(0, 1))
    results = [None] * 4

    def run(i):
        results[i] = session.run(None, digits[0][i : i + 3])[0]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for i, result in enumerate(results):
        assert np.abs(result - plain["mlp"][i : i + 3]).max() < 0.1
