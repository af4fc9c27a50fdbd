"""What Flower's SecAgg+ costs: its own client and server code, run in one process without network or training.

Runs inside the environment that `_peer_venv` makes, and ends with one line of JSON:

    python flower_secagg.py masking --neighbours 30             one client's masking stage, repeated
    python flower_secagg.py round --case "50 full" --dropped 10  one whole round

A round is driven by Flower's own `SecAggPlusWorkflow` and answered by its own `secaggplus_mod`; every message crosses
as the protobuf bytes that Flower would put on the wire. Clients run one after another and return a fixed update of 1 M
float32 values; members that drop out do so after the keys are shared, before their masked vector, where this version
can recover from it. All times are CPU seconds of this single-threaded process.
"""
# mypy: disable-error-code="import-not-found"
# The peer is not installed where types are checked.

import argparse
import importlib
import json
import logging
import os
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.app.error import Error
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt, generate_shared_key
from flwr.common.secure_aggregation.secaggplus_constants import Key as SecAggKey
from flwr.common.secure_aggregation.secaggplus_utils import share_keys_plaintext_concat
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.compat.common import recorddict_compat
from flwr.proto.recorddict_pb2 import RecordDict as WireRecord
from flwr.server import LegacyContext, ServerConfig
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
from flwr.serverapp.grid import Grid
from flwr.supercore.primitives.asymmetric import generate_key_pairs, private_key_to_bytes, public_key_to_bytes
from flwr.supercore.task_identity import TaskIdentity

# The package exports a function under the module's name, which hides the module from `from … import`.
secagg = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")

PARAMETERS = 1_000_000
SPREAD = 0.05  # standard deviation of the updates; far inside Flower's clipping range of 8
EXAMPLES = 1000  # a client's weight, equal to the workflow's default max_weight
MASKING_STAGE = 2
FIRST_NODE = 10_000
PACKAGES = ("flwr", "numpy", "cryptography", "pycryptodome", "protobuf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A cohort, and what Flower is told about it.

    Attributes:
        shares: `num_shares`: 1.0 for the complete graph, or neighbours + 1.
        threshold: `reconstruction_threshold`, by percent of members that drop out.
    """

    clients: int
    shares: float
    threshold: dict[int, float]


CASES = {
    "10 full": Case(clients=10, shares=1.0, threshold={0: 0.66, 10: 0.66, 30: 0.66}),
    "50 full": Case(clients=50, shares=1.0, threshold={0: 0.66, 10: 0.66, 30: 0.66}),
    # With 30 % gone some client keeps fewer than 16 of its 31 holders.
    "100 with 30": Case(clients=100, shares=31, threshold={0: 16, 10: 16, 30: 13}),
}


# -- one client's masking stage ------------------------------------------------------------------------


def masking_stage(neighbours: int) -> Callable[[], object]:
    """A call of the client's stage 2: open shares, quantise, add its own mask and one for each neighbour."""
    me = neighbours // 2  # so that half of the pairwise masks are added and half subtracted
    mine, _ = generate_key_pairs()
    state = secagg.SecAggPlusState()
    state.nid, state.threshold = me, 2
    state.clipping_range, state.target_range, state.mod_range = 8.0, 1 << 22, 1 << 32
    state.max_weight, state.sk1, state.rd_seed = float(EXAMPLES), private_key_to_bytes(mine), os.urandom(32)
    state.rd_seed_share_dict, state.sk1_share_dict = {}, {}
    state.ss2_dict, state.public_keys_dict = {}, {}
    sealed = []
    others = [node for node in range(neighbours + 1) if node != me]
    for node in others:
        _, theirs = generate_key_pairs()
        key, public = generate_shared_key(mine, theirs), public_key_to_bytes(theirs)
        state.ss2_dict[node], state.public_keys_dict[node] = key, (public, public)
        # Sizes of Flower's own shares of a 32-byte seed and of a private key in PEM.
        sealed.append(encrypt(key, share_keys_plaintext_concat(node, me, os.urandom(52), os.urandom(340))))
    config = ConfigRecord({SecAggKey.CIPHERTEXT_LIST: sealed, SecAggKey.SOURCE_LIST: others})
    update = ndarrays_to_parameters([updates(1)[FIRST_NODE]])
    return lambda: secagg._collect_masked_vectors(state, config, EXAMPLES, update)  # noqa: SLF001  # it has no public name


def measure_masking(neighbours: int, runs: int) -> dict[str, Any]:
    """Median CPU seconds of the stage."""
    stage, seconds = masking_stage(neighbours), []
    stage()
    for _ in range(runs):
        start = time.process_time()
        stage()
        seconds.append(time.process_time() - start)
    return {"neighbours": neighbours, "cpu_seconds": statistics.median(seconds), "runs": runs}


# -- whole rounds --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Meter:
    """CPU seconds and bytes by what they are spent on.

    Attributes:
        inside: All that happens between the server's sending and its receiving.
    """

    serialising: float = 0.0
    inside: float = 0.0
    clients: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    masking: list[float] = field(default_factory=list)
    up: dict[int, int] = field(default_factory=lambda: defaultdict(int))


class InProcessGrid(Grid):  # type: ignore[misc]  # see the note on top
    """Hands the server's messages to clients in this process and brings their answers back, all through bytes."""

    def __init__(self, contributions: dict[int, Any], leaving: frozenset[int]) -> None:
        self.meter = Meter()
        self._contributions = contributions
        self._leaving = leaving
        self._contexts = {node: Context(1, node, {}, RecordDict(), {}) for node in contributions}
        self._stage = 0

    def get_node_ids(self) -> list[int]:
        return list(self._contributions)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:  # noqa: ARG002  # the interface
        start = time.process_time()
        gone = self._leaving if self._stage >= MASKING_STAGE else frozenset()
        replies = [
            Message(Error(code=0, reason="left"), reply_to=message)
            if message.metadata.dst_node_id in gone
            else self._exchange(message)
            for message in messages
        ]
        self._stage += 1
        self.meter.inside += time.process_time() - start
        return replies

    def _exchange(self, message: Message) -> Message:
        node, meter = message.metadata.dst_node_id, self.meter
        arrived, _, spent = _across(message)
        meter.serialising += spent
        start = time.process_time()
        answer = secaggplus_mod(arrived, self._contexts[node], self._train)
        worked = time.process_time() - start
        meter.clients[node] += worked
        if self._stage == MASKING_STAGE:
            meter.masking.append(worked)
        back, size, spent = _across(answer)
        meter.serialising += spent
        meter.up[node] += size
        return back

    def _train(self, message: Message, context: Context) -> Message:
        update = ndarrays_to_parameters([self._contributions[context.node_id]])
        result = FitRes(Status(Code.OK, ""), update, EXAMPLES, {})
        return Message(recorddict_compat.fitres_to_recorddict(result, keep_input=False), reply_to=message)

    # The rest of the interface is not used by the workflow.
    def set_run(self, run: object) -> None: ...

    @property
    def run(self) -> None:
        return None

    def create_message(self, *_args: object, **_kwargs: object) -> Message:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterator[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        raise NotImplementedError


def _across(message: Message) -> tuple[Message, int, float]:
    """The message as it arrives, its size, and the CPU seconds of writing and reading it."""
    start = time.process_time()
    raw = recorddict_to_proto(message.content).SerializeToString()
    arrived = Message(recorddict_from_proto(WireRecord.FromString(raw)), metadata=message.metadata)
    return arrived, len(raw), time.process_time() - start


def updates(clients: int) -> dict[int, Any]:
    """A fixed update for each node."""
    numbers = np.random.default_rng(0)
    return {FIRST_NODE + i: (numbers.standard_normal(PARAMETERS) * SPREAD).astype(np.float32) for i in range(clients)}


def server_context(grid: InProcessGrid) -> LegacyContext:
    """A server about to start its first round with everybody."""
    nodes = grid.get_node_ids()
    manager = SimpleClientManager()
    for node in nodes:
        manager.register(GridClientProxy(node, grid, 1))
    strategy = FedAvg(fraction_fit=1.0, min_fit_clients=len(nodes), min_available_clients=len(nodes))
    context = LegacyContext(Context(1, 1, {}, RecordDict(), {}), ServerConfig(1), strategy, manager)
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.START_TIME: 0.0, Key.CURRENT_ROUND: 1})
    zeros = ndarrays_to_parameters([np.zeros(PARAMETERS, np.float32)])
    context.state.array_records[MAIN_PARAMS_RECORD] = recorddict_compat.parameters_to_arrayrecord(zeros, True)
    return context


def measure_round(case: Case, dropped: int) -> dict[str, Any]:
    """CPU seconds of one round by party, and whether its result is right."""
    contributions = updates(case.clients)
    leaving = frozenset(sorted(contributions)[: case.clients * dropped // 100])
    grid = InProcessGrid(contributions, leaving)
    context = server_context(grid)
    start = time.process_time()
    SecAggPlusWorkflow(case.shares, case.threshold[dropped])(grid, context)
    total = time.process_time() - start
    record = context.state.array_records[MAIN_PARAMS_RECORD]
    result = parameters_to_ndarrays(recorddict_compat.arrayrecord_to_parameters(record, True))[0]
    staying = [update for node, update in contributions.items() if node not in leaving]
    error = float(np.abs(result - np.mean(staying, axis=0, dtype=np.float64)).max())
    if error > 1e-4:
        raise SystemExit(f"Flower's round gave a wrong mean: off by {error}")
    meter = grid.meter
    return {
        "clients": case.clients,
        "dropped_percent": dropped,
        "total": total,
        "all_clients": sum(meter.clients.values()),
        "client": statistics.median(meter.clients.values()),
        "masking": statistics.median(meter.masking),
        "server": total - meter.inside,
        "serialising": meter.serialising,
        "bytes_up": statistics.median(meter.up.values()),
        "maximum_error": error,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure Flower's SecAgg+.")
    actions = parser.add_subparsers(dest="action", required=True)
    masking = actions.add_parser("masking")
    masking.add_argument("--neighbours", type=int, required=True)
    masking.add_argument("--runs", type=int, default=5)
    whole = actions.add_parser("round")
    whole.add_argument("--case", choices=CASES, required=True)
    whole.add_argument("--dropped", type=int, choices=(0, 10, 30), default=0)
    actions.add_parser("versions")
    chosen = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    if chosen.action == "masking":
        answer = measure_masking(chosen.neighbours, chosen.runs)
    elif chosen.action == "round":
        answer = measure_round(CASES[chosen.case], chosen.dropped)
    else:
        answer = {package: version(package) for package in PACKAGES}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
