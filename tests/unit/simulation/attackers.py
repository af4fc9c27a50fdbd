"""Small rows, rounds and experiments for tests of attacks."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedseal.learning import LocalData
from fedseal.methods import Contribution, Plan
from fedseal.simulation.attacks import Attacker, AttackRound
from fedseal.simulation.experiment import Experiment
from fedseal.simulation.sources import Source
from fedseal_crypto.encoding import VectorSpec
from fedseal_governance.datasets import load_schema

CLASSES = ("none", "cyst", "tumour")
SIDE = 12

SCHEMA = f"""
dataset: scans
columns:
  - {{name: id, role: record_id}}
  - {{name: scan, type: image, shape: SHAPE, range: RANGE}}
  - {{name: finding, type: category, categories: [{", ".join(CLASSES)}], role: target}}
"""


def scans(
    count: int = 30, *, shape: tuple[int, ...] = (SIDE, SIDE), dtype: str = "uint8", seed: int = 0, prefix: str = "r"
) -> LocalData:
    """Images in which a finding is a brighter corner, the classes in turn."""
    generator = np.random.default_rng(seed)
    images: NDArray[Any] = generator.uniform(0, 100, size=(count, *shape))
    for place in range(count):
        images[place, ..., -4:, -4 * (place % 3) - 4 : SIDE - 4 * (place % 3)] += 100
    high = 255 if dtype == "uint8" else 1
    images = images.astype(dtype) if dtype == "uint8" else (images / 255).astype(dtype)
    text = SCHEMA.replace("SHAPE", str(list(shape))).replace("RANGE", f"[0, {high}]")
    schema = load_schema(text.encode(), "schema.yaml")
    frame = pd.DataFrame({"finding": np.array([CLASSES[place % 3] for place in range(count)], dtype=object)})
    return LocalData(
        schema=schema, frame=frame, record_ids=tuple(f"{prefix}{n}" for n in range(count)), images={"scan": images}
    )


def attacker(number: int = 0, count: int = 4, seed: int = 5) -> Attacker:
    return Attacker(name=f"node-{number}", number=number, count=count, seed=seed)


def source(rows: int = 120) -> Source:
    data = scans(rows)
    return Source(
        schema=data.schema,
        features=("scan",),
        training={"all": data},
        test={"all": scans(60, seed=1, prefix="t")},
    )


def experiment(attack: dict[str, Any] | None, method: dict[str, Any], **other: Any) -> Experiment:
    """Six nodes, two of them attackers."""
    return Experiment.model_validate(
        {
            "experiment": "attacked",
            "seeds": [1],
            "data": {"source": "fashion-mnist"},
            "partition": {"kind": "iid", "nodes": 6},
            "method": {"rounds": 3, **method},
            "learner": {
                "name": "small-cnn",
                "settings": {
                    "height": SIDE, "width": SIDE, "filters": [4], "kernel": 3, "hidden_width": 0, "classes": 3,
                },
            },
            **({} if attack is None else {"attack": {"nodes": 2, **attack}}),
            **other,
        }
    )  # fmt: skip


def turn(plan: Plan, own: NDArray[np.float64], others: NDArray[np.float64], *, bound: float = 100.0) -> AttackRound:
    """A round in which the rows of ``own`` and ``others`` are updates; attacker number k has the weight k + 1."""

    def part(update: NDArray[np.float64], weight: float) -> Contribution:
        return Contribution(values={"update": update * weight, "weight": np.array([weight]), "loss": np.array([0.5])})

    return AttackRound(
        plan=plan,
        specs=(
            VectorSpec(name="update", length=own.shape[1], bound=bound, resolution=2**-20),
            VectorSpec(name="weight", length=1, bound=100.0, resolution=1.0),
            VectorSpec(name="loss", length=1, bound=30.0, resolution=2**-20),
        ),
        broadcast={},
        own={f"a{n}": part(row, n + 1.0) for n, row in enumerate(own)},
        others={f"h{n}": part(row, 1.0) for n, row in enumerate(others)},
    )
