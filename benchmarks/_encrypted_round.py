"""One round under homomorphic encryption as fedseal plays it, and as plain TenSEAL does; CPU seconds by step."""

import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import tenseal as ts

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.homomorphic import (
    PARAMETERS,
    Adder,
    EvaluationContext,
    PublicContext,
    RealPlan,
    SlotPlan,
    encrypt_reals,
    encrypt_vector,
    generate_keys,
    parameters_for_sums,
    plan_slots,
)

VALUES = 1_000_000
SPREAD = 0.05
BOUND = 0.5  # ten standard deviations
RESOLUTION = BOUND / 32_767  # 16 bits
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a round is of."""

    members: int
    layers: int = 1
    masked: bool = False

    @property
    def name(self) -> str:
        """For tables."""
        layers = "1 layer" if self.layers == 1 else f"{self.layers} layers"
        return f"{self.members} members, {layers}{', room for masks' if self.masked else ''}"


@dataclass(slots=True)
class Costs:
    """CPU seconds by step, sizes in bytes, and the largest error of the sum.

    Attributes:
        steps: Each occurrence of each step.
        up: One member's upload.
        total: The whole round, all parties.
        error: Of the sum, against the rounded inputs' own sum: 0 is exact.
    """

    steps: dict[str, list[float]] = field(default_factory=dict)
    up: int = 0
    total: float = 0.0
    error: float = 0.0

    def __call__(self, name: str, call: Callable[[], Answer]) -> Answer:
        start = time.process_time()
        result = call()
        spent = time.process_time() - start
        self.steps.setdefault(name, []).append(spent)
        self.total += spent
        return result

    def median(self, *names: str) -> float:
        """Of the sum of these steps."""
        return sum(statistics.median(self.steps[name]) for name in names)


def planned(case: Case) -> tuple[Layout, SlotPlan]:
    """The layout and plan of a case."""
    specs = [
        VectorSpec(name=f"layer-{i}", length=VALUES // case.layers, bound=BOUND, resolution=RESOLUTION)
        for i in range(case.layers)
    ]
    return plan_slots(specs, cohort=case.members, parameters=parameters_for_sums(case.members), masked=case.masked)


def our_round(case: Case, *, contributions: int | None = None) -> Costs:
    """A whole round, or one of fewer contributions; the check that the sum is exact is not counted."""
    count = contributions or case.members
    layout, plan = planned(case)
    costs = Costs(up=plan.bundle_bytes)
    secret = generate_keys(plan.parameters)
    public = PublicContext.from_bytes(secret.public.to_bytes(), parameters=plan.parameters)
    rng = np.random.default_rng(0)
    adder = costs("start the sum", lambda: Adder(plan, public))
    expected = RingVector.zeros(layout)
    for _ in range(count):
        update = {spec.name: (rng.standard_normal(spec.length) * SPREAD).astype(np.float32) for spec in layout.specs}
        words = costs("encode", lambda: layout.encode(update, generator=rng).words)  # noqa: B023  # called here
        bundle = costs("encrypt", lambda: encrypt_vector(words, plan=plan, public=public))  # noqa: B023
        if len(bundle) != plan.bundle_bytes:
            raise SystemExit("an upload has another size than its plan says")
        costs("add", lambda: adder.add(bundle))  # noqa: B023
        expected.add_in_place(words)
    total = costs("write the sum", adder.to_bytes)
    opened = costs("decrypt", lambda: secret.decrypt_sum(total, plan=plan, count=count))
    sums = costs("decode", lambda: layout.decode(opened, count=count)) if not case.masked else {}
    if opened != (plan.reduce(expected) if case.masked else expected):
        raise SystemExit("the sum is not exact")
    costs.error = max(
        (float(np.abs(sums[name] - layout.decode(expected, count=count)[name]).max()) for name in sums),
        default=0.0,
    )
    return costs


def tenseal_round(members: int) -> Costs:
    """The same with TenSEAL's own vectors: CKKS of degree 8192, (60, 40, 40), scale 2^40, as its tutorials use it."""
    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40], n_threads=1)
    context.global_scale = 2.0**40
    public = ts.context_from(context.serialize(save_galois_keys=False, save_relin_keys=False), n_threads=1)
    costs, rng = Costs(), np.random.default_rng(0)
    expected = np.zeros(VALUES)
    total = None
    for _ in range(members):
        update = (rng.standard_normal(VALUES) * SPREAD).astype(np.float32)
        expected += update
        chunks = [update[i : i + 4096] for i in range(0, VALUES, 4096)]
        sealed = costs("encrypt", lambda: [ts.ckks_vector(public, chunk) for chunk in chunks])  # noqa: B023  # called here
        raw = costs("serialise", lambda: [one.serialize() for one in sealed])  # noqa: B023
        costs.up = sum(map(len, raw))
        loaded = costs("load", lambda: [ts.ckks_vector_from(public, one) for one in raw])  # noqa: B023
        if total is None:
            total = loaded
        else:
            costs("add", lambda: [one.add_(other) for one, other in zip(total, loaded, strict=True)])  # noqa: B023
    raw = costs("write the sum", lambda: [one.serialize() for one in total or []])
    opened = costs("decrypt", lambda: np.concatenate([ts.ckks_vector_from(context, one).decrypt() for one in raw]))
    costs.error = float(np.abs(opened - expected).max())
    return costs


def coordinator_memory(members: int) -> int:
    """Peak bytes that the coordinator's sum needs beside the contribution it is given."""
    layout, plan = planned(Case(members=100))
    secret = generate_keys(plan.parameters)
    words = layout.encode(
        {spec.name: np.zeros(spec.length, np.float32) for spec in layout.specs}, generator=np.random.default_rng(0)
    ).words
    bundle = encrypt_vector(words, plan=plan, public=secret.public)
    tracemalloc.start()
    adder = Adder(plan, secret.public)
    for _ in range(members):
        adder.add(bundle)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def scalar_costs(runs: int) -> dict[str, float]:
    """Median CPU seconds of each number about encrypted vectors of a million values."""
    parameters = PARAMETERS["ckks-8192-scalars"]
    secret = generate_keys(parameters)
    keys = secret.evaluation_keys()
    evaluation = EvaluationContext.from_bytes(keys, public=secret.public, digest=sha256_hex(keys))
    plan = RealPlan(parameters=parameters, length=VALUES, cohort=10, largest=BOUND, norm=60.0)
    vectors = [np.random.default_rng(i).normal(size=VALUES) * SPREAD for i in range(2)]
    one, two = (encrypt_reals(vector, plan=plan, public=secret.public) for vector in vectors)
    costs = Costs()
    for _ in range(runs):
        costs("inner product with a public vector", lambda: evaluation.inner_product_with_public(one, vectors[1], plan))
        costs("squared norm", lambda: evaluation.squared_norm(one, plan))
        costs("inner product of two", lambda: evaluation.inner_product(one, two, plan))
    return {name: costs.median(name) for name in costs.steps}
