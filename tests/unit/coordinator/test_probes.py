"""A job of ``recess`` under encryption, with a node that steers against what it is sent: the same as in the clear."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

import fedseal.methods.registry
from fedseal.learning import LocalData, NamedTensors, job_data
from fedseal.learning.plugins import load_plugin
from fedseal.learning.tensors import group_of, unflatten
from fedseal.methods import Plan
from fedseal.methods.averaging import LocalUpdate
from fedseal.methods.contract import NodeContext
from fedseal.methods.in_process import run_in_process
from fedseal.methods.judging import Judgement, Numbers
from fedseal.methods.recess import PROBE, RESPONSE, Recess
from fedseal.methods.trust import Trust
from fedseal_governance.datasets import load_schema
from fedseal_governance.jobs import load_job
from tests.unit.coordinator.test_scalars import CHANGES, SITES, Federations, federations, job_file
from tests.unit.node.papers import SCHEMA, pseudonyms

__all__ = ["federations"]

REVERSING = SITES[0]
ROUNDS = 5
SETTINGS = b"clip: 1.0, largest_norm: 2.0, decrease: 0.6"


@dataclass(frozen=True, slots=True)
class Watched(Recess):
    """The method with one node that turns its probes around, noting what the coordinator judges."""

    judged: ClassVar[dict[int, Trust]] = {}
    left_out: ClassVar[dict[int, frozenset[str]]] = {}
    responses: ClassVar[dict[int, dict[str, float | None]]] = {}

    def train(self, context: NodeContext) -> LocalUpdate:
        """As an honest node; the attacker answers a probe by going back as far."""
        local = Recess.train(self, context)
        if context.node != REVERSING or not context.broadcast[PROBE][0] or context.earlier is None:
            return local
        return replace(local, change=unflatten(-context.earlier, self.shared_shapes(context.plan)))

    def judge(self, plan: Plan, state: NamedTensors, numbers: Mapping[str, Numbers]) -> Judgement:
        """See `Recess`."""
        judgement = Recess.judge(self, plan, state, numbers)
        self.judged[plan.round] = Trust.of(group_of("trust", judgement.state))
        self.left_out[plan.round] = frozenset(judgement.reasons)
        self.responses[plan.round] = {name: own.get(RESPONSE) for name, own in numbers.items()}
        return judgement


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    def load(group: str, kind: str, name: str) -> object:
        return Watched if name == Recess.name else load_plugin(group, kind, name)

    monkeypatch.setattr(fedseal.methods.registry, "load_plugin", load)
    return Watched


def test_under_encryption_the_same_are_removed_as_in_the_clear(
    federations: Federations, watched: type[Watched], tables: dict[str, LocalData], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trust differs by less than a thousandth."""
    monkeypatch.setitem(CHANGES, "[fedavg]", "[fedavg, recess]")
    federation = federations()
    data = job_file("recess", rounds=ROUNDS).replace(b"clip: 1.0, largest_norm: 2.0", SETTINGS)
    federation.attend()
    job = federation.submit(data)
    assert federation.run(job) == "finished", federation.reason(job)
    hidden, hidden_out = dict(watched.judged), dict(watched.left_out)
    watched.judged.clear()
    document, schema = load_job(data, "job"), load_schema(SCHEMA, "schema.yaml")
    parts = {name: job_data(tables[name], document, frozenset(pseudonyms(name))) for name in SITES}
    run_in_process(document, schema, parts, encode=True)
    assert sorted(hidden) == sorted(watched.judged) == list(range(ROUNDS))
    for number, clear in watched.judged.items():
        assert np.abs(hidden[number].score - clear.score).max() < 1e-3
        assert np.abs(hidden[number].consistency - clear.consistency).max() < 1e-3
        assert hidden[number].removed.tolist() == clear.removed.tolist()
    assert hidden_out == watched.left_out
    assert hidden_out[ROUNDS - 1] == {REVERSING}
    assert hidden[ROUNDS - 1].removed.tolist() == [2.0, 0.0, 0.0, 0.0]
    probed = [number for number, found in watched.responses.items() if any(found.values())]
    assert probed == [1, 3]
    for name in SITES:
        site = federation.member(name).site
        assert len(site.audit("scalars.compared")) == ROUNDS
        assert site.audit("scalars.wrong") == []
