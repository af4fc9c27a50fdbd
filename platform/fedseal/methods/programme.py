"""From a job to its stages, and from a stage to the plan and the file that every party reads alike.

A training job is statistics (1 round), training (R rounds), evaluation (1 round); a statistics job is the
first alone. What a finished stage exported travels to the nodes inside the broadcast of every later round, so
that a node which joins late, or was restarted, needs nothing but the current round.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedseal.errors import PeerFault
from fedseal.learning.encoder import TabularEncoder, encoder_statistics
from fedseal.learning.errors import TrainingFailed
from fedseal.learning.learner import Learner
from fedseal.learning.plugins import make_learner
from fedseal.learning.tensors import (
    NamedTensors,
    Shape,
    check_tensors,
    group_of,
    grouped,
    largest_file,
    pack_tensors,
    unpack_tensors,
)
from fedseal.methods.contract import (
    EVALUATION_STAGE,
    STATISTICS_STAGE,
    TRAINING_STAGE,
    Contribution,
    DisclosureStatement,
    GroupedMethod,
    IndividualMethod,
    Method,
    NodeContext,
    Plan,
    Stage,
)
from fedseal.methods.errors import BroadcastRefused, ContributionRefused, MethodUnsuitable
from fedseal.methods.evaluation import Evaluation
from fedseal.methods.groups import require_groups
from fedseal.methods.judging import JudgingMethod
from fedseal.methods.registry import make_method
from fedseal.methods.statistics import Statistics
from fedseal_governance.datasets import ColumnRole, DatasetSchema
from fedseal_governance.jobs import JobDocument
from fedseal_governance.vocabulary import Disclosure, Protection

BROADCAST_GROUP = "broadcast"
PUBLISHED_GROUP = "published"
COORDINATOR = "coordinator"
_DEFECTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a method's own mistakes are; what else is raised has its own handling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedBroadcast:
    """A round's broadcast, checked: the plan with everything published so far, and this round's tensors."""

    plan: Plan
    tensors: NamedTensors


def programme(job: JobDocument) -> tuple[Stage, ...]:
    """The stages of a job, in order.

    Raises:
        UnknownPlugin: The method or learner is not installed here.
        SettingsRefused: A setting is unknown or out of range.
        MethodUnsuitable: The method does not train, or needs single contributions, which the protection hides, or
            sums over groups that are too small, or states less than a method of its kind reveals.
    """
    statistics = Stage(name=STATISTICS_STAGE, method=Statistics(), rounds=1)
    if job.method is None:
        return (statistics,)
    if job.method.name in (STATISTICS_STAGE, EVALUATION_STAGE):
        raise MethodUnsuitable(
            f'"{job.method.name}" is a stage of every training job and trains nothing; choose a training method, '
            "such as fedavg."
        )
    trainer = make_method(job.method.name, job.method.settings)
    _require_true_level(trainer)
    if isinstance(trainer, IndividualMethod) and job.protection is not Protection.NONE:
        raise MethodUnsuitable(
            f'Method "{trainer.name}" needs each node\'s contribution by itself, and the protection '
            f"{job.protection.value} shows the coordinator sums only; choose a method whose messages add up, such as "
            "fedavg-quantised or evofed."
        )
    require_groups(trainer, job)
    if job.learner is not None:
        make_learner(job.learner.name, job.learner.settings)  # refuses bad settings now, not in a later round
    return (
        statistics,
        Stage(name=TRAINING_STAGE, method=trainer, rounds=job.method.rounds),
        Stage(name=EVALUATION_STAGE, method=Evaluation(trainer=trainer), rounds=1),
    )


def _require_true_level(method: Method) -> None:
    """Refuse a method whose statement is milder than its kind: policies go by the statement alone."""
    least = _least_level(method)
    if method.statement.level < least:
        raise MethodUnsuitable(
            f'Method "{method.name}" states that it discloses {method.statement.level.name}, and a method of its kind '
            f"discloses {least.name} at least; ask its author to correct the statement."
        )


def stage_plan(
    job: JobDocument,
    schema: DatasetSchema,
    stage: Stage,
    *,
    published: Mapping[str, NamedTensors] | None = None,
    round: int = 0,  # noqa: A002 - the word of the protocol
) -> Plan:
    """What every party knows about a round of ``stage``.

    Raises:
        MethodUnsuitable: The job names a column that the schema does not have in that role.
    """
    require_columns(job, schema)
    learner: Learner | None = None
    if job.learner is not None:
        learner = make_learner(job.learner.name, job.learner.settings)
    plan = Plan(
        job=job,
        schema=schema,
        stage=stage.name,
        rounds=stage.rounds,
        learner=learner,
        published=dict(published or {}),
    )
    return plan.for_round(round)


def require_columns(job: JobDocument, schema: DatasetSchema) -> None:
    """Refuse a job whose columns the schema does not offer.

    Raises:
        MethodUnsuitable: Naming the first such column.
    """
    roles = {column.name: column.role for column in schema.columns}
    for name in job.features:
        if roles.get(name) is not ColumnRole.FEATURE:
            raise MethodUnsuitable(f'The job\'s feature "{name}" is not a feature of the dataset "{schema.dataset}".')
    if job.target is not None and roles.get(job.target) is not ColumnRole.TARGET:
        raise MethodUnsuitable(f'The job\'s target "{job.target}" is not the target of the dataset "{schema.dataset}".')


def programme_statement(stages: tuple[Stage, ...]) -> DisclosureStatement:
    """What a whole job reveals: the highest level, every paragraph, every quantity once."""
    methods: list[Method] = list({stage.method.name: stage.method for stage in stages}.values())
    return DisclosureStatement(
        level=max(method.statement.level for method in methods),
        paragraph="\n\n".join(f"{method.title}: {method.statement.paragraph}" for method in methods),
        quantities=tuple(quantity for method in methods for quantity in method.statement.quantities),
    )


def contribute(method: Method, context: NodeContext) -> Contribution:
    """Let a method contribute, with its input checked before and its output after.

    Raises:
        BroadcastRefused: The broadcast is not what this round's must be.
        ContributionRefused: The method gave other vectors than it declared, or one that its statement does not name,
            NaN, or values outside its bounds.
        TrainingFailed: Local training gave nothing usable, or the method itself failed.
    """
    plan = context.plan
    require_stated(method, plan)
    try:
        check_tensors(context.broadcast, method.broadcast_shapes(plan), what=_what(plan))
    except PeerFault as error:
        raise BroadcastRefused(str(error)) from None
    try:
        contribution = method.contribute(context)
    except _DEFECTS as error:
        # Its own words may quote rows, and this sentence may be told to others.
        raise TrainingFailed(
            f'Method "{method.name}" stopped with {type(error).__name__} instead of a contribution; '
            "`fedseal --debug` shows where."
        ) from error
    check_contribution(method, plan, contribution)
    return contribution


def require_stated(method: Method, plan: Plan) -> None:
    """Refuse a method that asks for more than its statement says.

    Raises:
        ContributionRefused: A vector is not among the coordinator's quantities, or the level is below what the
            coordinator is shown.
    """
    named = {item.name for item in method.statement.quantities if item.party == COORDINATOR}
    unnamed = sorted({spec.name for spec in method.vectors(plan)} - named)
    if unnamed:
        raise ContributionRefused(
            f'Method "{method.name}" asks for the vector "{unnamed[0]}", which its disclosure statement does not name; '
            "its author adds a Quantity of that name.",
            vector=unnamed[0],
        )
    least = _least_level(method)
    if method.statement.level < least:
        raise ContributionRefused(
            f'Method "{method.name}" states the disclosure {method.statement.level.name} and shows the coordinator '
            f"{least.name}; its author states that."
        )


def _least_level(method: Method) -> Disclosure:
    """What a method of this kind shows the coordinator at least."""
    kinds = (
        (IndividualMethod, Disclosure.INDIVIDUAL),
        (GroupedMethod, Disclosure.GROUP_SUMS),
        (JudgingMethod, Disclosure.SCALARS),
    )
    return max((level for kind, level in kinds if isinstance(method, kind)), default=Disclosure.SUM)


def check_contribution(method: Method, plan: Plan, contribution: Contribution) -> None:
    """Refuse values that are not exactly what the method declared, and stated.

    Raises:
        ContributionRefused: Wrong names, one that the statement does not name to the coordinator, wrong shape, NaN or
            infinity, or a value outside its declared bound.
    """
    require_stated(method, plan)
    specs = {spec.name: spec for spec in method.vectors(plan)}
    if not isinstance(contribution, Contribution):
        raise ContributionRefused(f'Method "{method.name}" gave a {type(contribution).__name__}, not a Contribution.')
    if specs.keys() != contribution.values.keys():
        raise ContributionRefused(
            f'Method "{method.name}" declared the vectors {sorted(specs)} and gave {sorted(contribution.values)}.'
        )
    for name, values in contribution.values.items():
        spec = specs[name]
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            raise ContributionRefused(
                f'Vector "{name}" of method "{method.name}" is not a numpy array of floating-point numbers.',
                vector=name,
            )
        if values.shape != (spec.length,):
            raise ContributionRefused(
                f'Vector "{name}" has the shape {values.shape}, declared is ({spec.length},).', vector=name
            )
        # A comparison with NaN is false, so this one test refuses NaN, infinity and values out of bounds.
        spare = spec.bound * 1e-9
        if not bool(((values >= spec.lowest - spare) & (values <= spec.bound + spare)).all()):
            raise ContributionRefused(
                f'Vector "{name}" holds NaN, infinity or a value beyond its declared bounds {spec.lowest:g} to '
                f"{spec.bound:g}.",
                vector=name,
            )


def pack_broadcast(plan: Plan, tensors: NamedTensors) -> bytes:
    """The file that every node receives for a round; equal content gives equal bytes."""
    everything = grouped(BROADCAST_GROUP, tensors)
    for stage, exported in plan.published.items():
        everything.update(grouped(f"{PUBLISHED_GROUP}/{stage}", exported))
    return pack_tensors(everything)


def largest_broadcast(plan: Plan, stages: tuple[Stage, ...]) -> int:
    """Bytes that the broadcast of a round can have at most; known before it is fetched."""
    return largest_file(_file_shapes(plan, stages))


def unpack_broadcast(data: bytes, *, plan: Plan, stages: tuple[Stage, ...]) -> ReceivedBroadcast:
    """Read a round's broadcast strictly.

    Args:
        data: The whole file.
        plan: `stage_plan` of the round, without ``published``.
        stages: `programme` of the job.

    Raises:
        BroadcastRefused: Anything is missing, extra, of another shape, not finite, or cannot standardise.
    """
    shapes = _file_shapes(plan, stages)
    try:
        tensors = unpack_tensors(data, shapes, what=_what(plan))
    except PeerFault as error:
        raise BroadcastRefused(str(error)) from None
    published = {stage.name: group_of(f"{PUBLISHED_GROUP}/{stage.name}", tensors) for stage in _earlier(plan, stages)}
    if STATISTICS_STAGE in published:
        _require_usable_statistics(plan, published[STATISTICS_STAGE])
    received = ReceivedBroadcast(plan=plan.with_published(published), tensors=group_of(BROADCAST_GROUP, tensors))
    if pack_broadcast(received.plan, received.tensors) != data:
        # The same content in other bytes would have another digest, and nodes compare rounds by digest.
        raise BroadcastRefused(f"{_what(plan)} is not in the one form that packing gives.")
    return received


def _require_usable_statistics(plan: Plan, published: NamedTensors) -> None:
    try:
        TabularEncoder(features=plan.features, statistics=encoder_statistics(published))
    except ValueError as error:
        raise BroadcastRefused(f"{_what(plan)}: the published statistics cannot be used: {error}.") from None


def _what(plan: Plan) -> str:
    return f'The broadcast of round {plan.round} of stage "{plan.stage}"'


def _earlier(plan: Plan, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages that have finished when the plan's stage runs."""
    return stages[: [stage.name for stage in stages].index(plan.stage)]


def _file_shapes(plan: Plan, stages: tuple[Stage, ...]) -> dict[str, Shape]:
    """Every tensor of a round's broadcast file."""
    earlier = _earlier(plan, stages)
    own = stages[len(earlier)].method.broadcast_shapes(plan)
    shapes: dict[str, Shape] = {f"{BROADCAST_GROUP}/{name}": shape for name, shape in own.items()}
    for stage in earlier:
        for name, shape in stage.method.export_shapes(plan).items():
            shapes[f"{PUBLISHED_GROUP}/{stage.name}/{name}"] = shape
    return shapes
