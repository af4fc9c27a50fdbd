"""The same job gives the same model under every protection, up to the resolution of its sums.

The sums themselves are exact in all of them; only without a protection nothing is encoded: there a value that lies
between two steps of the resolution is not rounded, at random, to one of them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import fedseal.methods.in_process
from fedseal.learning import JobData, NamedTensors, job_data, use_deterministic_torch
from fedseal.methods import Plan, programme, stage_plan
from fedseal.methods.in_process import run_in_process
from fedseal.protection import round_layout
from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.homomorphic import Adder, SecretContext, SlotPlan, generate_keys, lift_masks, parameters_for_sums
from fedseal_crypto.masking import ClientId, ClientLimits, Party, run_round
from fedseal_governance.datasets import load_schema
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.vocabulary import Protection
from tests.unit.coordinator.members import rows_of
from tests.unit.crypto.custody.rounds import World, entropy_of, play_hybrid, play_padded
from tests.unit.node.papers import SCHEMA, JobFile, pseudonyms
from tests.unit.node.parties import NODES

ROUNDS = 2


@dataclass(slots=True)
class SumWorld(World):
    """A round whose contributions are given."""

    specs: tuple[VectorSpec, ...] = ()
    given: dict[ClientId, NamedTensors] = field(default_factory=dict)
    job: JobDocument | None = None

    @property
    def plan(self) -> tuple[Layout, SlotPlan]:
        assert self.job is not None
        made = round_layout(self.job, self.specs, cohort=len(self.names))
        if made.slots is None:
            return made.layout, None  # type: ignore[return-value]  # not used under masks alone
        return made.layout, made.slots

    def words(self, name: ClientId) -> RingVector:
        layout, _ = self.plan
        seed = self.names.index(name)
        return layout.encode(self.given[name], generator=np.random.default_rng(seed)).words


def sum_under(job: JobDocument, secret: SecretContext) -> Callable[..., NamedTensors]:
    """What replaces the plain sum of the simulation: the job's protection with all its parties."""

    def total(
        specs: Sequence[VectorSpec], contributions: Iterable[tuple[int, NamedTensors]], *, cohort: int
    ) -> NamedTensors:
        names = tuple(ClientId(name) for name in NODES)
        world = SumWorld(
            secret=secret,
            masked=job.protection is Protection.HYBRID,
            names=names,
            specs=tuple(specs),
            given=dict(zip(names, (values for _, values in contributions), strict=True)),
            job=job,
        )
        assert cohort == len(names)
        layout, slots = world.plan
        if job.protection is Protection.MASKING:
            parties = {name: Party(identity=world.identities[name], words=world.words(name)) for name in names}
            entropy = entropy_of("masks").bytes
            played = run_round(world.parameters, parties, limits=ClientLimits(), entropy=entropy)
            return layout.decode(played.words, count=cohort)
        collected = (play_hybrid if world.masked else play_padded)(world)
        adder = Adder(slots, secret.public)
        for name in names:
            adder.add(collected.bundles[name])
        opened = secret.decrypt_sum(adder.to_bytes(), plan=slots, count=cohort)
        return layout.decode(lift_masks(opened, collected.words, slots), count=cohort)

    return total


def test_every_protection_gives_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the same seed rounds the contributions, bit by bit; without encoding, up to what rounding can do."""
    use_deterministic_torch()
    secret = generate_keys(parameters_for_sums(len(NODES)))
    schema = load_schema(SCHEMA, "schema.yaml")
    parts: dict[str, JobData] = {}
    models: dict[Protection, NamedTensors] = {}
    for protection in (Protection.MASKING, Protection.HOMOMORPHIC, Protection.HYBRID):
        job = job_under(protection)
        monkeypatch.setattr(fedseal.methods.in_process, "encoded_sum", sum_under(job, secret))
        parts = {name: job_data(rows_of(name, tmp_path), job, frozenset(pseudonyms(name))) for name in NODES}
        models[protection] = run_in_process(job, schema, parts, encode=True).published["training"]
    first, job = models[Protection.MASKING], job_under(Protection.MASKING)
    for other in (models[Protection.HOMOMORPHIC], models[Protection.HYBRID]):
        assert other.keys() == first.keys()
        for name, value in other.items():
            assert np.array_equal(value, first[name]), name
    specs = {spec.name: spec for spec in programme(job)[1].method.vectors(_training_plan(job))}
    step = specs["update"].resolution
    for name, value in run_in_process(job, schema, parts, encode=False).published["training"].items():
        # each of five summands is rounded by up to one step in each round, and training repeats the difference
        assert np.allclose(value, first[name], rtol=0, atol=4 * ROUNDS * len(NODES) * step), name
        assert not np.array_equal(value, first[name]), "the encoding was left out here"
        assert np.abs(value).max() > 100 * step or name.endswith("bias")


def job_under(protection: Protection) -> JobDocument:
    custodian = "\ncustodian: data-trust" if protection.has_custodian else ""
    text = JobFile(training_rounds=ROUNDS).to_yaml().decode()
    return load_job(
        text.replace("protection: masking", f"protection: {protection.value}{custodian}").encode(), "job.yaml"
    )


def _training_plan(job: JobDocument) -> Plan:
    return stage_plan(job, load_schema(SCHEMA, "schema.yaml"), programme(job)[1])
