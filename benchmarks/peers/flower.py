"""Flower's SecAgg+ measured on this machine: its client's masking stage, and whole rounds.

Run by benchmarks/masking.py with the interpreter of an environment that has `flower.txt` installed. Flower's own
`SecAggPlusWorkflow` (server) and `secaggplus_mod` (client) are driven through a grid that hands every message over as
the protobuf bytes that Flower would put on the wire. No network, no training: each client returns a fixed update.
Figures are CPU seconds of this single process.

    python flower.py stage NEIGHBOURS RUNS     prints the seconds of each run
    python flower.py round N NEIGHBOURS DROPPED  prints {"total", "client", "server", "wire"}; NEIGHBOURS 0 = all
"""
# mypy: ignore-errors
# The peer's package is not installed where the sources are checked.

import importlib
import json
import logging
import os
import sys
import time
from collections import defaultdict

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.app.error import Error
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters
from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt, generate_shared_key
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import share_keys_plaintext_concat
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.compat.common import recorddict_compat as compat
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from flwr.server import LegacyContext, ServerConfig
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.serverapp.grid import Grid
from flwr.supercore.primitives.asymmetric import generate_key_pairs, private_key_to_bytes, public_key_to_bytes

LENGTH = 1_000_000
WEIGHT = 1000
MASKED_STAGE = 2  # the stage in which masked vectors are collected

logging.getLogger("flwr").setLevel(logging.ERROR)


def give_messages_an_identity():
    """Outside of its runtime Flower has no task identity; messages need one."""
    try:
        module = importlib.import_module("flwr.supercore.task_identity")
    except ImportError:
        module = importlib.import_module("flwr.app.message.message")
    for name in ("run_id", "node_id", "task_id"):
        for spelling in (name, f"_{name}"):
            try:
                setattr(module.TaskIdentity, spelling, 1)
            except AttributeError:
                continue


class MemoryGrid(Grid):
    """Hands messages to clients in this process, through protobuf bytes, and times both sides."""

    def __init__(self, update, nodes, dropped):
        self.update, self.nodes, self.dropped = update, nodes, dropped
        self.contexts = {node: Context(1, node, {}, RecordDict(), {}) for node in nodes}
        self.seconds = defaultdict(float)
        self.stage = 0

    def set_run(self, run): ...

    @property
    def run(self):
        return None

    def create_message(self, *args, **kwargs):
        raise NotImplementedError

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError

    def get_node_ids(self):
        return list(self.nodes)

    def app(self, message, context):  # noqa: ARG002  # the peer's interface
        result = FitRes(Status(Code.OK, ""), ndarrays_to_parameters([self.update]), WEIGHT, {})
        return Message(compat.fitres_to_recorddict(result, keep_input=False), reply_to=message)

    def through_bytes(self, content):
        start = time.process_time()
        raw = recorddict_to_proto(content).SerializeToString()
        decoded = recorddict_from_proto(ProtoRecordDict.FromString(raw))
        self.seconds["wire"] += time.process_time() - start
        return decoded

    def send_and_receive(self, messages, *, timeout=None):  # noqa: ARG002  # the peer's interface
        entered = time.process_time()
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            if self.stage >= MASKED_STAGE and node in self.dropped:
                replies.append(Message(Error(code=0, reason="dropped"), reply_to=message))
                continue
            received = Message(self.through_bytes(message.content), metadata=message.metadata)
            start = time.process_time()
            reply = secaggplus_mod(received, self.contexts[node], self.app)
            self.seconds["client"] += time.process_time() - start
            if reply.has_content():
                reply = Message(self.through_bytes(reply.content), metadata=reply.metadata)
            replies.append(reply)
        self.stage += 1
        self.seconds["grid"] += time.process_time() - entered
        return replies


def whole_round(members, neighbours, dropped):
    """One round; the threshold that completes it is the peer's usual two thirds, or less with many dropouts."""
    update = (np.random.default_rng(0).standard_normal(LENGTH) * 0.05).astype(np.float32)
    nodes = [10_000 + i for i in range(members)]
    gone = {nodes[i * members // dropped] for i in range(dropped)} if dropped else set()
    grid = MemoryGrid(update, nodes, gone)
    manager = SimpleClientManager()
    for node in nodes:
        manager.register(GridClientProxy(node, grid, 1))
    strategy = FedAvg(fraction_fit=1.0, min_fit_clients=members, min_available_clients=members)
    context = LegacyContext(Context(1, 1, {}, RecordDict(), {}), ServerConfig(1), strategy, manager)
    config = ConfigRecord()
    config[WorkflowKey.START_TIME], config[WorkflowKey.CURRENT_ROUND] = 0.0, 1
    context.state.config_records[MAIN_CONFIGS_RECORD] = config
    first = compat.parameters_to_arrayrecord(ndarrays_to_parameters([np.zeros(LENGTH, np.float32)]), True)
    context.state.array_records[MAIN_PARAMS_RECORD] = first
    shares = neighbours + 1 if neighbours else 1.0
    threshold = (13 if dropped * 5 > members else 16) if neighbours else 0.66
    start = time.process_time()
    SecAggPlusWorkflow(shares, threshold)(grid, context)
    total = time.process_time() - start
    if context.state.array_records[MAIN_PARAMS_RECORD] is first:
        raise SystemExit("the peer's round did not complete")
    return {
        "total": total,
        "client": grid.seconds["client"],
        "wire": grid.seconds["wire"],
        "server": total - grid.seconds["grid"],
    }


def masking_stage(neighbours, runs):
    """Its client's own masking stage: quantise, self mask and one mask a neighbour."""
    module = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
    pairs = [generate_key_pairs() for _ in range(neighbours + 1)]
    own, me = pairs[-1], neighbours // 2
    seconds = []
    for _ in range(runs):
        state = module.SecAggPlusState()
        state.nid, state.threshold = me, 2
        state.clipping_range, state.target_range, state.mod_range, state.max_weight = 8.0, 1 << 22, 1 << 32, 1000.0
        state.sk1, state.rd_seed = private_key_to_bytes(own[0]), os.urandom(32)
        state.rd_seed_share_dict, state.sk1_share_dict = {}, {}
        state.ss2_dict, state.public_keys_dict = {}, {}
        sources, sealed = [], []
        for i in range(neighbours):
            node = i if i < me else i + 1
            key = generate_shared_key(own[0], pairs[i][1])
            public = public_key_to_bytes(pairs[i][1])
            state.ss2_dict[node], state.public_keys_dict[node] = key, (public, public)
            sources.append(node)
            sealed.append(encrypt(key, share_keys_plaintext_concat(node, me, os.urandom(52), os.urandom(340))))
        config = ConfigRecord({Key.CIPHERTEXT_LIST: sealed, Key.SOURCE_LIST: sources})
        update = (np.random.default_rng(0).standard_normal(LENGTH) * 0.05).astype(np.float32)
        parameters = ndarrays_to_parameters([update])
        start = time.process_time()
        module._collect_masked_vectors(state, config, WEIGHT, parameters)  # noqa: SLF001  # the stage has no public name
        seconds.append(time.process_time() - start)
    return seconds


def main():
    give_messages_an_identity()
    kind, *numbers = sys.argv[1:]
    values = [int(number) for number in numbers]
    print(json.dumps(masking_stage(*values) if kind == "stage" else whole_round(*values)))


if __name__ == "__main__":
    main()
