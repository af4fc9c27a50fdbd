"""pFedHR: four architectures in one federation by group sums, candidates as copies, matching, and what is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fedseal.errors import RefusalError, SetupError
from fedseal.learning import use_deterministic_torch
from fedseal.learning.learner import Examples, FitRequest
from fedseal.learning.network_family import NetworkFamily, NetworkFamilySettings, own_of
from fedseal.learning.public_rows import PublicRows, public_rows, use_public_rows
from fedseal.learning.reassembled import Tuning
from fedseal.learning.tensors import group_of
from fedseal.methods import IndividualMethod, MethodUnsuitable, asked_nodes, make_method, programme
from fedseal.methods.errors import BroadcastRefused
from fedseal.methods.pfedhr_networks import Limits, Network, Workshop, all_blocks, most_similar, received
from fedseal.simulation.engine import Simulation, simulate
from fedseal.simulation.experiment import load_experiment
from fedseal.simulation.setting import Setting, make_setting
from fedseal.simulation.sources import load_source

HEART = Path(__file__).parents[3] / "examples" / "heart-disease"
EXPERIMENT = """
experiment: kinds
seeds: [1]
data:
  source: files
  folder: FOLDER
  schema_file: schema.yaml
  files: {a: cleveland.csv, b: hungary.csv}
  features: [age, sex]
partition: {kind: iid, nodes: NODES}
method: {name: METHOD, rounds: ROUNDS, settings: {public_rows: DIGEST, clusters: 2, SETTINGS}}
learner: {name: network-family, settings: {architectures: ["fc6", "fc8 fc6", "fc10", "fc6 fc6 fc4"]}}
protection: PROTECTION
"""


@pytest.fixture(autouse=True)
def public(tmp_path: Path) -> Iterator[str]:
    use_deterministic_torch()
    generator = np.random.default_rng(7)
    inputs = generator.normal(size=(60, width())).astype(np.float32)
    file = tmp_path / "public.safetensors"
    save_file({"inputs": inputs, "labels": (inputs[:, 0] > 0).astype(np.float32)}, file)
    store = PublicRows.of_party(tmp_path)
    digest = store.admit(file)
    use_public_rows(store)
    yield digest
    use_public_rows(PublicRows())


def width() -> int:
    text = EXPERIMENT.partition("method:")[0].replace("FOLDER", str(HEART)).replace("NODES", "4")
    rest = "method: {name: fedavg, rounds: 1}\nlearner: {name: tabular-mlp}\n"
    experiment = load_experiment((text + rest).encode(), "width.yaml")
    return make_setting(experiment, load_source(experiment.data, Path()), 1).plan.input_width


def setting(public: str, **changed: Any) -> Setting:
    values = {"METHOD": "pfedhr", "NODES": "12", "ROUNDS": "8", "PROTECTION": "none", "SETTINGS": "", **changed}
    text = EXPERIMENT.replace("FOLDER", str(HEART)).replace("DIGEST", public)
    for name, value in values.items():
        text = text.replace(name, value)
    experiment = load_experiment(text.replace(", }", "}").encode(), "kinds.yaml")
    return make_setting(experiment, load_source(experiment.data, Path()), 1)


def images(lines: tuple[str, ...] = ("conv3x3 fc6", "conv3x4 conv5x2 fc5", "conv5x2 fc4 fc6")) -> Workshop:
    generator = np.random.default_rng(1)
    rows = Examples(
        inputs=generator.normal(size=(40, 64)).astype(np.float32),
        labels=generator.integers(0, 3, size=40).astype(float),
    )
    family = NetworkFamily(NetworkFamilySettings(architectures=lines, height=8, width=8, classes=3))
    return Workshop(family=family, width=64, rows=rows, tuning=Tuning(epochs=2, seed=1))


def sources(workshop: Workshop) -> list[tuple[int, Any]]:
    start = workshop.family.initial_parameters(64, 5)
    return [(number, own_of(number, start)) for number in range(len(workshop.family.networks))]


@pytest.mark.parametrize("protection", ["none", "masking"])
def test_four_architectures_learn_in_one_federation_by_sums_over_groups(public: str, protection: str) -> None:
    where = setting(public, PROTECTION=protection)
    results = simulate(where)
    assert [result.cohort for result in results] == [3] * 8, "a round is one group's"
    assert [result.summary["candidates"] > 0 for result in results] == [False] * 3 + [True] * 5
    kept = results[-1].state.nodes
    assert len(kept) == 12
    networks = {name: {key.split(".")[0] for key in group_of("own", state)} for name, state in kept.items()}
    for number, group in enumerate(where.method.groups(where.job)):  # type: ignore[attr-defined]  # a GroupedMethod
        assert {frozenset(networks[name]) for name in group} == {frozenset({f"net{number}"})}


def test_the_coordinators_mean_is_the_plain_mean_of_the_groups_networks_weighted_by_rows(public: str) -> None:
    where = setting(public, ROUNDS="4")
    run = Simulation(setting=where)
    for number, result in enumerate(run.rounds()):
        group = sorted(asked_nodes(where.method, where.job, number))
        rows = np.array([where.nodes[name].training.row_count for name in group], dtype=float)
        mean = group_of("mean", result.state.coordinator)
        for tensor in (name for name in mean if name.startswith(f"net{number}.")):
            own = np.stack([group_of("own", result.state.nodes[name])[tensor] for name in group])
            assert np.allclose(mean[tensor], np.tensordot(rows / rows.sum(), own, 1), atol=1e-6)


@pytest.mark.parametrize("method", ["pfedhr", "pfedhr-individual"])
def test_what_the_coordinator_is_sent_is_what_the_statement_names(public: str, method: str) -> None:
    where = setting(public, METHOD=method)
    named = {item.name for item in where.method.statement.quantities if item.party == "coordinator"}
    for index in range(where.plan.rounds):
        assert {spec.name for spec in where.method.vectors(where.plan.for_round(index))} == named


def test_group_sums_and_sums_under_masks_agree(public: str) -> None:
    plain, masked = (simulate(setting(public, ROUNDS="4", PROTECTION=kind))[-1] for kind in ("none", "masking"))
    one, two = (group_of("mean", result.state.coordinator) for result in (plain, masked))
    assert all(np.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_a_group_below_the_minimum_is_refused_before_anything_is_sent(public: str) -> None:
    with pytest.raises(MethodUnsuitable, match=r"group 4 .* has 2 nodes where no sum over fewer than 3"):
        setting(public, NODES="11")
    groups = ("00 01", "02 03 04 05", "06 07 08", "09 10 11")
    written = (" ".join(f"node-{number}" for number in group.split()) for group in groups)
    lines = f"members: [{', '.join(written)}]"
    with pytest.raises(MethodUnsuitable, match=r"group 1 \(node-00, node-01\) has 2 nodes"):
        setting(public, SETTINGS=lines)
    with pytest.raises(MethodUnsuitable, match="exactly once"):
        setting(public, SETTINGS=lines.replace("node-00 node-01", "node-02 node-01 node-03"))
    with pytest.raises(MethodUnsuitable, match="multiple of 4"):
        setting(public, ROUNDS="6")


def test_individual_networks_are_cut_up_only_by_the_method_that_says_so(public: str) -> None:
    where = setting(public, METHOD="pfedhr-individual", NODES="8")
    assert isinstance(where.method, IndividualMethod)
    result = simulate(where)[-1]
    assert result.summary["candidates"] > 0
    own = {name.split("/")[1] for name in result.state.coordinator if name.startswith("source/")}
    assert own == {"0", "1", "2", "3"}
    job = setting(public).job
    assert job.method is not None
    with pytest.raises(MethodUnsuitable, match="by itself"):
        programme(job.model_copy(update={"method": job.method.model_copy(update={"name": "pfedhr-individual"})}))


@pytest.mark.parametrize(("teacher", "made"), [("none", 0), ("random", 1), ("public", 1)])
def test_controls_run(public: str, teacher: str, made: int) -> None:
    result = simulate(setting(public, SETTINGS=f"teacher: {teacher}", ROUNDS="8"))[-1]
    assert (result.summary["candidates"] >= 1) == bool(made)


def test_without_candidates_nodes_train_alone(public: str) -> None:
    small = simulate(setting(public, SETTINGS="candidate_size: 16"))[-1]
    alone = simulate(setting(public, SETTINGS="candidate_size: 16, teacher: none"))[-1]
    assert small.summary["candidates"] == 0
    for name, state in small.state.nodes.items():
        assert all(np.array_equal(value, alone.state.nodes[name][key]) for key, value in state.items())


def test_candidates_are_copies_that_obey_the_rules_and_fit_together() -> None:
    workshop = images()
    given = sources(workshop)
    before = [{name: value.copy() for name, value in own.items()} for _, own in given]
    made = workshop.reassemble(given, Limits(clusters=2, most=8, largest=10**6), seed=3)
    assert made
    for own, was in zip((own for _, own in given), before, strict=True):
        assert all(np.array_equal(own[name], was[name]) for name in was), "blocks are copies"
    blocks = all_blocks(workshop.family, 64)
    for one in made:
        chain = [blocks[number] for number in one.numbers]
        assert {block.kind for block in chain} == {"conv", "fc"}
        assert one.logits(workshop.rows.inputs).shape == (40, 3)
        assert one.candidate.size == sum(value.size for value in one.parameters.values())
    assert all(
        one.candidate.size <= 900 for one in workshop.reassemble(given, Limits(clusters=2, most=8, largest=900), 3)
    )


def test_one_architecture_and_one_group_of_blocks_still_give_candidates() -> None:
    workshop = images(("conv3x3 fc6",))
    assert workshop.reassemble(sources(workshop), Limits(clusters=1, most=4, largest=10**6), seed=0)


def test_a_broadcast_gives_back_the_candidates_and_refuses_forged_ones() -> None:
    workshop = images()
    made = workshop.reassemble(sources(workshop), Limits(clusters=2, most=1, largest=10**6), seed=3)[0]
    parts, values = np.zeros((2, 16)), np.zeros((2, made.candidate.size + 5))
    parts[0, : len(made.numbers)] = np.array(made.numbers) + 1
    values[0, : made.candidate.size] = made.candidate.packed(made.parameters)
    (back,) = received(workshop.family, 64, parts, values)
    assert np.allclose(back.logits(workshop.rows.inputs), made.logits(workshop.rows.inputs), atol=1e-6)
    for place, number in ((0, 99.0), (0, 1.5), (15, 1.0), (0, -1.0)):
        forged = parts.copy()
        forged[0, place] = number
        with pytest.raises(BroadcastRefused):
            received(workshop.family, 64, forged, values)
    backwards = parts.copy()
    backwards[0, : len(made.numbers)] = backwards[0, : len(made.numbers)][::-1]
    with pytest.raises(BroadcastRefused, match="order"):
        received(workshop.family, 64, backwards, values)
    with pytest.raises(BroadcastRefused, match="larger"):
        received(workshop.family, 64, parts, values[:, :10])


def test_a_node_matches_the_candidate_that_is_its_own_network() -> None:
    workshop = images()
    number, own = sources(workshop)[1]
    network = workshop.family.networks[number]
    fitted = network.fit(FitRequest(parameters=own, examples=workshop.rows, epochs=5, seed=1)).parameters
    candidates = [one for seed in (1, 2) for one in workshop.from_public_rows(seed, 10**6)]
    blocks = network.blocks(64)
    numbers = tuple(3 + block.index for block in blocks)
    candidate = candidates[0].candidate.__class__(chain=blocks, row=(1, 8, 8), outputs=3)
    layers = [{part: fitted[f"block{b.index}.{part}"] for part in ("weight", "bias")} for b in blocks]
    twin = Network(numbers=numbers, candidate=candidate, parameters=candidate.start(layers, 0))
    chosen = most_similar((network, fitted), [*candidates, twin], workshop.rows, compared=40, tuning=Tuning(epochs=0))
    assert chosen == 2


def test_a_teacher_pulls_its_pupil() -> None:
    workshop = images()
    _, own = sources(workshop)[0]
    (teacher,) = workshop.from_public_rows(9, 10**6)
    assert workshop.from_public_rows(9, 10) == []
    wanted = teacher.logits(workshop.rows.inputs)
    labels = np.column_stack([workshop.rows.labels, wanted * 3])

    def gap(weight: float) -> float:
        pupil = workshop.family.taught(0, weight)
        request = FitRequest(
            parameters=own, examples=Examples(inputs=workshop.rows.inputs, labels=labels), epochs=20, seed=0
        )
        found = workshop.family.networks[0].predict(pupil.fit(request).parameters, workshop.rows.inputs)
        target = np.exp(wanted * 3) / np.exp(wanted * 3).sum(axis=1, keepdims=True)
        return float(np.abs(found - target).mean())

    assert gap(20.0) < gap(0.0)


def test_another_learner_is_refused(public: str) -> None:
    job = setting(public).job
    assert job.learner is not None
    other = job.model_copy(update={"learner": job.learner.model_copy(update={"name": "tabular-mlp", "settings": {}})})
    with pytest.raises(MethodUnsuitable, match="network-family"):
        programme(other)


def test_public_rows_are_those_that_were_admitted(public: str, tmp_path: Path) -> None:
    assert len(public_rows(public)) == 60
    with pytest.raises(RefusalError, match="not admitted"):
        public_rows("0" * 64)
    (tmp_path / "public" / f"{public}.safetensors").write_bytes(b"changed")
    with pytest.raises(RefusalError, match="changed"):
        public_rows(public)
    bad = tmp_path / "bad.safetensors"
    save_file({"inputs": np.full((3, 2), np.nan, dtype=np.float32), "labels": np.zeros(3, dtype=np.float32)}, bad)
    with pytest.raises(SetupError, match="not finite"):
        PublicRows.of_party(tmp_path).admit(bad)
    assert make_method("pfedhr", {"public_rows": public}).name == "pfedhr"
