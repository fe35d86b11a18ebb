"""The compute parties of SPU as processes on this machine, linked over loopback.

The parent is the data owner and the model's: it makes shares, sends each party its own through
a pipe, and puts the answers together. A party sees shares and the compiled program only.
"""

import multiprocessing
import os
import re
import tempfile

from contract import free_ports, process_peak_mb
from spu import libspu


class Parties:
    """`count` parties that run `executable`."""

    def __init__(self, count, config, executable):
        ports = free_ports(count)
        spawn = multiprocessing.get_context("spawn")
        self.links, self.processes = [], []
        for rank in range(count):
            ours, theirs = spawn.Pipe()
            work = (theirs, rank, ports, config.SerializeToString(), executable.SerializeToString())
            process = spawn.Process(target=party, args=work, daemon=True)
            process.start()
            self.links.append(ours)
            self.processes.append(process)
        for link in self.links:
            link.recv()

    def set(self, name, shares):
        """Gives each party its share of a value that stays."""
        self.ask([("set", name, pack(share)) for share in shares])

    def run(self, name, shares, output):
        """One inference on this input; the shares of its output."""
        answers = self.ask([("run", name, pack(share), output) for share in shares])
        return [unpack(answer) for answer in answers]

    def traffic(self, name, shares):
        """Bytes that all parties send one another in one inference, and messages of the busiest."""
        counts = self.ask([("traffic", name, pack(share)) for share in shares])
        return sum(sent for sent, _ in counts), max(actions for _, actions in counts)

    def peak_rss_mb(self):
        """Largest resident memory of a party so far (MiB)."""
        return max(self.ask([("peak",)] * len(self.links)))

    def stop(self):
        self.ask([("stop",)] * len(self.links))
        for process in self.processes:
            process.join(10)

    def ask(self, messages):
        for link, message in zip(self.links, messages):
            link.send(message)
        answers = [link.recv() for link in self.links]
        for answer in answers:
            if isinstance(answer, Exception):
                raise RuntimeError(f"a party failed: {answer}")
        return answers


def pack(share):
    return share.meta, list(share.share_chunks)


def unpack(packed):
    share = libspu.Share()
    share.meta, share.share_chunks = packed
    return share


def party(pipe, rank, ports, config, executable):
    """One compute party."""
    # The library's account of a run is read from its log.
    log = tempfile.TemporaryFile()
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    desc = libspu.link.Desc()
    for index, port in enumerate(ports):
        desc.add_party(f"party{index}", f"127.0.0.1:{port}")
    desc.recv_timeout_ms = 600_000
    link = libspu.link.create_brpc(desc, rank)
    settings, program = libspu.RuntimeConfig(), libspu.Executable()
    settings.ParseFromString(config)
    program.ParseFromString(executable)
    runtime = libspu.RuntimeWrapper(link, settings)
    constants = {}
    pipe.send("ready")
    while True:
        message = pipe.recv()
        try:
            if message[0] == "stop":
                pipe.send("stopped")
                link.stop_link()
                return
            pipe.send(act(message, runtime, program, constants, link, settings, log))
        except Exception as error:  # Told to the parent, which stops.
            pipe.send(RuntimeError(str(error)[:500]))


def act(message, runtime, program, constants, link, settings, log):
    kind, *rest = message
    if kind == "set":
        name, share = rest
        constants[name] = share
        runtime.SetVar(name, unpack(share))
        return "set"
    if kind == "run":
        name, share, output = rest
        runtime.SetVar(name, unpack(share))
        runtime.Run(program)
        return pack(runtime.GetVar(output))
    if kind == "traffic":
        name, share = rest
        return account(name, share, program, constants, link, settings, log)
    return process_peak_mb(os.getpid())


def account(name, share, program, constants, link, settings, log):
    """Runs once more with the library's profile switched on, and reads it."""
    settings = libspu.RuntimeConfig(settings)
    settings.enable_pphlo_profile = True
    runtime = libspu.RuntimeWrapper(link.spawn(), settings)
    for key, value in {**constants, name: share}.items():
        runtime.SetVar(key, unpack(value))
    start = os.fstat(log.fileno()).st_size
    runtime.Run(program)
    log.seek(start)
    text = log.read().decode(errors="replace")
    found = re.search(r"total send bytes (\d+), recv bytes \d+, send actions (\d+)", text)
    if not found:
        raise RuntimeError("the library's profile of the link was not found in its log")
    return int(found[1]), int(found[2])
