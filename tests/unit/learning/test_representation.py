"""Views, the contrastive loss, training on views, and adaptation without labels: of both torch networks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedseal.learning import Examples, NamedTensors, ParameterRole, SettingsRefused, TrainingFailed, make_learner
from fedseal.learning._torch_views import contrastive_loss, entropy, view_of
from fedseal.learning.representation import (
    AdaptRequest,
    AdaptResult,
    Objective,
    RepresentationLearner,
    ViewRecipe,
    ViewsRequest,
)

SIDE = 8
RECIPE = ViewRecipe(image=(1, SIDE, SIDE), shift=0.1, zoom=0.1, flip=True, contrast=0.2, noise=0.05, masked=0.0)
STILL = ViewRecipe(image=(1, SIDE, SIDE), shift=0, zoom=0, flip=False, contrast=0, noise=0, masked=0)
TABLE = replace(STILL, image=None, noise=0.1, masked=0.3)
CNN = {
    "height": SIDE,
    "width": SIDE,
    "filters": (4,),
    "kernel": 3,
    "hidden_width": 8,
    "classes": 3,
    "normalisation": "batch",
    "hidden_normalisation": True,
    "batch_size": 16,
    "learning_rate": 0.1,
}


def network(**settings: object) -> RepresentationLearner:
    learner = make_learner("small-cnn", {**CNN, **settings})
    assert isinstance(learner, RepresentationLearner)
    return learner


def stripes(rows: int = 48, seed: int = 0) -> Examples:
    """Three classes: horizontal, vertical, diagonal stripes, with noise."""
    generator = np.random.default_rng(seed)
    down, right = np.mgrid[:SIDE, :SIDE]
    patterns = np.stack([down % 2, right % 2, (down + right) % 2]).astype(np.float32)
    labels = np.arange(rows) % 3
    images = np.clip(patterns[labels] + 0.2 * generator.standard_normal((rows, SIDE, SIDE)), 0, 1)
    return Examples(inputs=images.reshape(rows, -1).astype(np.float32), labels=labels.astype(np.float64))


def start_of(learner: RepresentationLearner, projection: int = 6) -> dict[str, NDArray[np.float32]]:
    width = SIDE * SIDE
    return {**learner.initial_parameters(width, 1), **learner.initial_projection(width, projection, 1)}


def with_role(learner: RepresentationLearner, role: ParameterRole) -> set[str]:
    return {name for name, found in learner.roles(SIDE * SIDE).items() if found is role}


def naive_loss(embeddings: NDArray[np.float64], labels: list[int], temperature: float) -> float:
    """The formula, term by term."""
    count = len(embeddings)
    total = 0.0
    for i in range(count):
        others = [a for a in range(count) if a != i]
        whole = sum(math.exp(embeddings[i] @ embeddings[a] / temperature) for a in others)
        positives = [p for p in others if labels[p] == labels[i]]
        logs = [math.log(math.exp(embeddings[i] @ embeddings[p] / temperature) / whole) for p in positives]
        total += sum(logs) / len(positives)
    return -(temperature / 0.07) * total / count


@settings(max_examples=25, deadline=None)
@given(labels=st.lists(st.integers(0, 2), min_size=2, max_size=5), seed=st.integers(0, 1000))
def test_the_contrastive_loss_is_the_formula(labels: list[int], seed: int) -> None:
    """Also where a class has one row only: then its other view is its one positive."""
    raw = np.random.default_rng(seed).standard_normal((2 * len(labels), 4))
    embeddings = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    tensor = torch.from_numpy(embeddings)
    supervised = float(contrastive_loss(tensor, torch.tensor(labels), 0.5))
    assert supervised == pytest.approx(naive_loss(embeddings, labels * 2, 0.5), rel=1e-9)
    alone = float(contrastive_loss(tensor, None, 0.5))
    assert alone == pytest.approx(naive_loss(embeddings, list(range(len(labels))) * 2, 0.5), rel=1e-9)


def test_entropy_of_one_logit_is_that_of_two_classes() -> None:
    logits = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    chances = 1 / (1 + np.exp(-logits.numpy().ravel()))
    expected = -np.mean(chances * np.log(chances) + (1 - chances) * np.log(1 - chances))
    assert float(entropy(logits)) == pytest.approx(float(expected))


def test_views_differ_follow_the_seed_and_stay_pixels() -> None:
    inputs = torch.from_numpy(stripes(6).inputs)
    first, second = (view_of(inputs, RECIPE, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert torch.equal(first, view_of(inputs, RECIPE, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, second)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    torch.testing.assert_close(view_of(inputs, STILL, torch.Generator()), inputs)


def test_views_of_a_table_leave_numbers_out() -> None:
    rows = torch.ones(200, 10)
    view = view_of(rows, replace(TABLE, noise=0.0), torch.Generator().manual_seed(1))
    assert set(view.numpy().ravel().tolist()) == {0.0, 1.0}
    assert 0.25 < float((view == 0).float().mean()) < 0.35


@pytest.mark.parametrize(("objective", "only_head"), [("contrastive", False), ("cross-entropy", True)])
def test_only_what_is_named_moves_and_running_statistics_follow(objective: Objective, only_head: bool) -> None:
    learner = network()
    start, head = start_of(learner), with_role(learner, ParameterRole.HEAD)
    statistics = with_role(learner, ParameterRole.STATISTICS)
    moving = frozenset(head if only_head else start.keys() - head - statistics)
    request = ViewsRequest(
        parameters=start, examples=stripes(), epochs=2, seed=1, recipe=RECIPE, objective=objective, moving=moving
    )
    before = {name: value.copy() for name, value in start.items()}
    after = learner.fit_views(request).parameters
    assert after.keys() == start.keys()
    moved = {name for name, value in after.items() if not np.array_equal(value, start[name])}
    assert moved == set(moving) | statistics
    assert all(np.array_equal(start[name], value) for name, value in before.items())
    again = learner.fit_views(request).parameters
    assert all(np.array_equal(again[name], value) for name, value in after.items())


def test_contrastive_training_brings_a_class_together() -> None:
    """The loss falls, and a last layer on the frozen encoder then tells the classes apart."""
    learner = network()
    start, examples = start_of(learner), stripes()
    head, statistics = (with_role(learner, role) for role in (ParameterRole.HEAD, ParameterRole.STATISTICS))
    request = ViewsRequest(
        parameters=start,
        examples=examples,
        epochs=1,
        seed=1,
        recipe=RECIPE,
        objective="contrastive",
        moving=frozenset(start.keys() - head - statistics),
    )
    first = learner.fit_views(request)
    trained = learner.fit_views(replace(request, parameters=first.parameters, epochs=8))
    assert trained.loss < first.loss
    told = replace(request, parameters=trained.parameters, objective="cross-entropy", moving=frozenset(head), epochs=10)
    model = learner.fit_views(told).parameters
    model = adapted(learner, model, examples.inputs, kind="statistics").parameters
    fresh = stripes(seed=9)
    assert np.mean(learner.predict(model, fresh.inputs).argmax(axis=1) == fresh.labels) > 0.8


def adapted(
    learner: RepresentationLearner, parameters: NamedTensors, inputs: NDArray[np.float32], **changes: object
) -> AdaptResult:
    request = AdaptRequest(
        parameters=parameters,
        inputs=inputs,
        kind="ucl",
        epochs=1,
        most_steps=100,
        batch_size=16,
        learning_rate=0.01,
        temperature=0.1,
        recipe=RECIPE,
        seed=3,
    )
    return learner.adapt(replace(request, **changes))  # type: ignore[arg-type]  # fields of the request


@pytest.mark.parametrize("kind", ["statistics", "ucl", "tent"])
def test_adaptation_makes_a_copy_and_leaves_the_last_layer(kind: str) -> None:
    learner, inputs = network(), stripes().inputs
    start = start_of(learner)
    before = {name: value.copy() for name, value in start.items()}
    result = adapted(learner, start, inputs, kind=kind)
    assert all(np.array_equal(start[name], value) for name, value in before.items())
    assert result.parameters.keys() == learner.parameter_shapes(SIDE * SIDE).keys()
    moved = {name for name, value in result.parameters.items() if not np.array_equal(value, start[name])}
    expected = {
        "statistics": with_role(learner, ParameterRole.STATISTICS),
        "tent": with_role(learner, ParameterRole.STATISTICS) | with_role(learner, ParameterRole.NORMALISATION),
        "ucl": result.parameters.keys() - with_role(learner, ParameterRole.HEAD),
    }[kind]
    # A bias before a normalisation has no effect and so no gradient.
    assert moved - {"conv0.bias", "layer0.bias"} == expected - {"conv0.bias", "layer0.bias"}
    assert result.steps == (0 if kind == "statistics" else 3)


def test_statistics_are_those_of_the_rows_whatever_they_were() -> None:
    learner, inputs = network(), stripes().inputs
    start = start_of(learner)
    spoilt = {**start, "norm0.running_mean": start["norm0.running_mean"] + 7}
    result = adapted(learner, spoilt, inputs, kind="statistics").parameters
    weight, bias = (torch.from_numpy(start[f"conv0.{part}"]) for part in ("weight", "bias"))
    maps = torch.nn.functional.conv2d(torch.from_numpy(inputs).reshape(-1, 1, SIDE, SIDE), weight, bias, padding=1)
    np.testing.assert_allclose(result["norm0.running_mean"], maps.mean(dim=(0, 2, 3)).numpy(), atol=1e-5)


def test_adaptation_stops_at_its_steps_and_when_the_loss_rises() -> None:
    learner, inputs = network(), stripes().inputs
    start = start_of(learner)
    assert adapted(learner, start, inputs, epochs=50, most_steps=4).steps == 4
    result = adapted(learner, start, inputs, epochs=50, most_steps=10_000)
    falling = list(result.losses[:-1])
    assert falling == sorted(falling, reverse=True)
    assert len(result.losses) == 50 or result.losses[-1] >= result.losses[-2]
    assert adapted(learner, start, inputs, kind="tent", epochs=5).losses[-1] < math.log(3)


def test_a_network_without_normalisation_refuses_tent_and_one_row_is_too_few() -> None:
    plain = network(normalisation="none", hidden_normalisation=False)
    with pytest.raises(TrainingFailed, match="normalisation layers, and the learner has none"):
        adapted(plain, start_of(plain), stripes().inputs, kind="tent")
    with pytest.raises(TrainingFailed, match="at least two rows"):
        adapted(plain, start_of(plain), stripes().inputs[:1])
    with pytest.raises(TrainingFailed, match="adapt_rate"):
        adapted(plain, start_of(plain), stripes().inputs, learning_rate=1e30)


def test_the_network_for_tables_has_an_encoder_and_a_regression_has_none() -> None:
    table = make_learner("tabular-mlp", {"hidden_width": 5})
    assert isinstance(table, RepresentationLearner)
    assert table.projection_shapes(7, 3)["projection0.weight"] == (5, 5)
    assert not isinstance(make_learner("logistic-regression", {}), RepresentationLearner)


def test_hidden_normalisation_needs_something_to_normalise() -> None:
    with pytest.raises(SettingsRefused, match="needs a normalisation and a hidden layer"):
        make_learner("small-cnn", {**CNN, "hidden_width": 0})
    assert "hidden_norm.running_mean" in network().parameter_shapes(SIDE * SIDE)
    assert "hidden_norm.weight" in network(normalisation="group").parameter_shapes(SIDE * SIDE)
