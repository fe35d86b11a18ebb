"""Roles apart: keys, files, parties over mutual TLS."""

import contextlib
import socket

import numpy as np
import pytest

import subrosa
from subrosa.roles import Client, DataOwner, ModelOwner, Party, Server, make_identity


def test_homomorphic_inference_file_by_file(model, digits, tmp_path):
    images = digits[0][:1]
    plan = subrosa.plan(model("cnn_square"), via="ckks", calibrate=digits[0])
    keys, request, answer = (tmp_path / name for name in ("evaluation.keys", "request.ckks", "answer.ckks"))
    client = Client.keygen(plan, tmp_path / "client.key", keys)
    assert client.encrypt(images, request)["samples"] == 1
    assert Server(model("cnn_square"), keys, calibrate=digits[0]).evaluate(request, answer)["samples"] == 1
    plain = subrosa.InferenceSession(model("cnn_square"), via="plain").run(None, images)[0]
    assert np.abs(client.decrypt(answer) - plain).max() < 0.05
    # The same key serves again, from its file.
    assert np.abs(Client(tmp_path / "client.key").decrypt(answer) - plain).max() < 0.05


def test_a_secret_key_is_never_overwritten(model, digits, tmp_path):
    plan = subrosa.plan(model("mlp_square"), via="ckks", calibrate=digits[0])
    (tmp_path / "client.key").write_bytes(b"a key")
    with pytest.raises(subrosa.MisuseError, match="never overwritten"):
        Client.keygen(plan, tmp_path / "client.key", tmp_path / "evaluation.keys")
    assert (tmp_path / "client.key").read_bytes() == b"a key"


def test_damaged_files_are_refused(model, tmp_path):
    (tmp_path / "client.key").write_bytes(b"no key at all")
    with pytest.raises(subrosa.InputError):
        Client(tmp_path / "client.key")
    (tmp_path / "keys").write_bytes(b"")
    with pytest.raises(subrosa.InputError):
        Server(model("mlp_square"), tmp_path / "keys").evaluate(tmp_path / "keys", tmp_path / "answer")


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


PARTIES = ["hospital", "vendor", "regulator"]


def cluster(folder):
    """Identities of three parties and a client, and their configuration."""
    config = folder / "subrosa.toml"
    entries = []
    for name, port in zip(PARTIES, free_ports(3)):
        fingerprint = make_identity(name, folder / name)
        entries.append(f'[[party]]\nname = "{name}"\naddress = "127.0.0.1:{port}"\nfingerprint = "{fingerprint}"\n')
    fingerprint = make_identity("clinic", folder / "clinic")
    roles = '["model-owner", "data-owner", "receiver"]'
    entries.append(f'[[client]]\nname = "clinic"\nroles = {roles}\nfingerprint = "{fingerprint}"\n')
    config.write_text("\n".join(entries))
    return config


@pytest.mark.parametrize("days", [0, 36_501, 2**32 - 1])
def test_a_certificate_is_valid_for_a_time_that_can_be_written_down(days, tmp_path):
    with pytest.raises(subrosa.MisuseError, match="1 to 36500 days"):
        make_identity("clinic", tmp_path / "clinic", days)
    assert not (tmp_path / "clinic").exists()


def test_a_key_that_others_can_read_is_not_used(tmp_path):
    config = cluster(tmp_path)
    (tmp_path / "clinic" / "key.pem").chmod(0o644)
    with pytest.raises(subrosa.MisuseError, match="chmod 600"):
        DataOwner(config, tmp_path / "clinic")


def test_three_parties_over_mutual_tls(model, digits, tmp_path):
    config = cluster(tmp_path)
    with contextlib.ExitStack() as stack:
        for name in PARTIES:
            stack.enter_context(Party(config, tmp_path / name, tmp_path / name / "state"))
        assert ModelOwner(config, tmp_path / "clinic").provision(model("mlp"), "mlp", input_range=(0, 1)) == 1
        owner = DataOwner(config, tmp_path / "clinic")
        assert [p["models"] for p in owner.check()] == [[["mlp", 1]]] * 3
        session = owner.session("mlp")
        [logits] = session.run(None, digits[0])
        plain = subrosa.InferenceSession(model("mlp"), via="plain").run(None, digits[0])[0]
        assert np.abs(logits - plain).max() < 0.1
        assert session.report.bytes_online > 0 and session.report.insecure == []
        with pytest.raises(subrosa.InputError, match="no model 'lenet'"):
            owner.session("lenet")
        # Before the parties stop: a session at work ends by itself.
        del session
