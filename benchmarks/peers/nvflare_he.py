"""What NVIDIA FLARE's homomorphic aggregation costs: its own filters and aggregator, in one process without network.

Runs inside the environment that `_peer_venv` makes, and ends with one line of JSON:

    python nvflare_he.py --layers 40

Ten clients encrypt a million float32 values in so many layers with `HEModelEncryptor`; each update crosses as the
bytes of FLARE's own serialisation; the server's `HEInTimeAccumulateWeightedAggregator` adds them; one client loads and
decrypts the result with `HEModelDecryptor`. The context is the one that FLARE's `HEBuilder` provisions, put on the
filters directly instead of through a start-up kit. All times are CPU seconds of this process.
"""
# mypy: disable-error-code="import-not-found"
# The peer is not installed where types are checked.

import argparse
import json
import logging
import resource
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import tenseal as ts
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_opt.he.intime_accumulate_model_aggregator import HEInTimeAccumulateWeightedAggregator
from nvflare.app_opt.he.model_decryptor import HEModelDecryptor
from nvflare.app_opt.he.model_encryptor import HEModelEncryptor
from nvflare.fuel.utils import fobs
from nvflare.lighter.impl.he import HEBuilder

PARAMETERS = 1_000_000
CLIENTS = 10
SPREAD = 0.05


class Clock:
    """CPU seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def __call__(self, name: str, call: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = call()
        self.seconds.setdefault(name, []).append(time.process_time() - start)
        return result


def contribution(update: dict[str, np.ndarray], steps: int) -> Any:
    """An update as FLARE's clients hand it to their filters."""
    dxo = DXO(DataKind.WEIGHT_DIFF, data=dict(update), meta={MetaKey.NUM_STEPS_CURRENT_ROUND: steps})
    return dxo.to_shareable()


def play(layers: int) -> dict[str, Any]:
    """One round."""
    builder = HEBuilder()
    builder.initialize(None, None)
    client_context = ts.context_from(builder.get_serialized_context(True))
    rng = np.random.default_rng(0)
    names = [f"layer-{i}" for i in range(layers)]
    updates = [
        {name: (rng.standard_normal(PARAMETERS // layers) * SPREAD).astype(np.float32) for name in names}
        for _ in range(CLIENTS)
    ]
    steps = [10 + i for i in range(CLIENTS)]
    aggregator = HEInTimeAccumulateWeightedAggregator(
        expected_data_kind=DataKind.WEIGHT_DIFF, weigh_by_local_iter=False
    )
    server = FLContext()
    server.set_prop(AppConstants.CURRENT_ROUND, 0)
    aggregator.handle_event(EventType.START_RUN, server)
    clock = Clock()
    sizes = []
    start = time.process_time()
    for i, (update, count) in enumerate(zip(updates, steps, strict=True)):
        own, peer = FLContext(), FLContext()
        peer.set_prop(ReservedKey.IDENTITY_NAME, f"site-{i}")
        own.set_peer_context(peer)
        encryptor = HEModelEncryptor(weigh_by_local_iter=True)
        encryptor.tenseal_context, encryptor.encrypt_layers = client_context, [True]
        sealed = clock("encrypt", lambda: encryptor.process(contribution(update, count), own))  # noqa: B023  # called here
        raw = clock("serialise", lambda: fobs.dumps(sealed))  # noqa: B023
        sizes.append(len(raw))
        received = clock("server loads", lambda: fobs.loads(raw))  # noqa: B023
        received.set_peer_props({ReservedKey.IDENTITY_NAME: f"site-{i}"})
        received.add_cookie(AppConstants.CONTRIBUTION_ROUND, 0)
        if not clock("server adds", lambda: aggregator.accept(received, server)):  # noqa: B023
            raise SystemExit("the aggregator did not accept a contribution")
    result = clock("server divides", lambda: aggregator.aggregate(server))
    down = clock("server serialises", lambda: fobs.dumps(result))
    loaded = clock("client loads", lambda: fobs.loads(down))
    decryptor = HEModelDecryptor()
    decryptor.tenseal_context = client_context
    opened = clock("decrypt", lambda: decryptor.process(loaded, FLContext()))
    total = time.process_time() - start
    data = from_shareable(opened).data
    error = max(
        float(
            np.abs(
                np.asarray(data[name])
                - sum(update[name].astype(np.float64) * count for update, count in zip(updates, steps, strict=True))
                / sum(steps)
            ).max()
        )
        for name in names
    )
    return {
        "seconds": {name: statistics.median(values) for name, values in clock.seconds.items()},
        "client": statistics.median(clock.seconds["encrypt"]) + statistics.median(clock.seconds["serialise"]),
        "total": total,
        "up": statistics.median(sizes),
        "down": len(down),
        "error": error,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "versions": {name: version(name) for name in ("nvflare", "tenseal", "numpy")},
    }


def main() -> None:
    """Play one round and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, required=True)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(json.dumps(play(arguments.layers)))


if __name__ == "__main__":
    main()
