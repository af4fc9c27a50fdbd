"""The secure sum of a simulated round under each protection."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from fedseal.learning.tensors import NamedTensors
from fedseal.methods.contract import CohortSum, Plan, node_seed
from fedseal.methods.sums import encoded_sum, plain_sum
from fedseal.protection import RoundLayout, job_parameters, round_layout
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal.simulation.experiment import Protection
from fedseal_crypto.custody import Custody, run_sealed_round
from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import Layout, RingVector, VectorSpec
from fedseal_crypto.homomorphic import Parameters, SecretContext, generate_keys
from fedseal_crypto.identity import Entropy, IdentityKey
from fedseal_crypto.masking import (
    ClientId,
    ClientLimits,
    GroupParameters,
    ParametersInvalid,
    Party,
    RingSum,
    RoundParameters,
    Step,
    Transcript,
    choose_parameters,
    run_round,
)
from fedseal_governance.jobs import SMALLEST_PROTECTED_COHORT

CORRUPTED_FRACTION, DROPOUT_FRACTION = 0.2, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSum:
    """The sum, and what each node sent for it.

    Attributes:
        total: What the coordinator learns.
        bytes_up: Largest number of bytes that one node sent: the encoded vector, under masks keys, shares and
            signatures too, under a custodian's key ciphertexts instead of the vector; without protection the vectors
            as float32.
    """

    total: CohortSum
    bytes_up: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributions:
    """What the nodes of a round contribute.

    Attributes:
        values: Of each node that stays until its contribution has arrived.
        lost: Nodes that leave after sharing keys, before their vector arrives.
    """

    values: Mapping[str, NamedTensors]
    lost: Collection[str] = ()


class Keys:
    """The custodian's keys of one run, made when one is first needed.

    Keys and ciphertexts are random, unlike everything else in a run; the sums that come out do not depend on them.
    """

    def __init__(self) -> None:
        self._held: dict[str, SecretContext] = {}

    def of(self, parameters: Parameters) -> SecretContext:
        """The key for these encryption parameters."""
        if parameters.name not in self._held:
            self._held[parameters.name] = generate_keys(parameters)
        return self._held[parameters.name]


def secure_sum(
    plan: Plan,
    specs: tuple[VectorSpec, ...],
    parts: Contributions,
    protection: Protection,
    *,
    keys: Keys | None = None,
) -> RoundSum:
    """Add up a round's contributions.

    Args:
        plan: Of the round; under a custodian's key its job has the same protection.
        specs: What is summed.
        parts: Who contributes what.
        protection: How it is added up.
        keys: Of the run; without them a custodian's key is made for this sum.

    Raises:
        ExperimentUnsuitable: Under masks or a custodian's key, too few nodes are asked or too many left.
    """
    names = sorted(parts.values)
    if protection is Protection.NONE:
        total = plain_sum(specs, (parts.values[name] for name in names))
        return RoundSum(total=CohortSum(values=total, cohort=len(names)), bytes_up=unprotected_bytes(specs))
    seeds = {name: node_seed(plan.job.seed, name, "rounding", plan.round) for name in names}
    if protection is Protection.ENCODED:
        added = encoded_sum(specs, ((seeds[name], parts.values[name]) for name in names), cohort=len(names))
        layout = Layout.plan(specs, cohort=len(names))
        return RoundSum(total=CohortSum(values=added, cohort=len(names)), bytes_up=layout.wire_bytes)
    roster = tuple(ClientId(name) for name in sorted({*parts.values, *parts.lost}))
    laid = _laid_out(plan, specs, protection, cohort=len(roster))
    entropy, transcript = _entropy(plan), Transcript()
    members = _Members(
        parameters=_parameters(plan, laid.layout, roster, lost=len(parts.lost)),
        parties=_parties(parts, seeds, laid.layout, entropy),
        limits=ClientLimits(
            corrupted_fraction=CORRUPTED_FRACTION,
            dropout_fraction=max(DROPOUT_FRACTION, len(parts.lost) / len(roster)),
        ),
    )
    if laid.slots is None:
        result = run_round(
            members.parameters, members.parties, limits=members.limits, entropy=entropy, transcript=transcript
        )
    else:
        custody = Custody(
            secret=(keys or Keys()).of(job_parameters(plan.job)),
            specs=laid.specs,
            plan=laid.slots,
            masked=protection is Protection.HYBRID,
            limits=members.limits,
        )
        result = run_sealed_round(members.parameters, members.parties, custody, entropy=entropy, transcript=transcript)
    return _told(result, laid.layout, transcript)


def unprotected_bytes(specs: tuple[VectorSpec, ...]) -> int:
    """The vectors as float32."""
    return 4 * sum(spec.length for spec in specs)


def masking_group(asked: int, lost: int) -> GroupParameters:
    """What a protected round of ``asked`` nodes withstands, when ``lost`` of them leave.

    Raises:
        ExperimentUnsuitable: Too few nodes are asked, or too many of them lost, for masks or a custodian's key.
    """
    share = max(DROPOUT_FRACTION, lost / asked)
    try:
        group = choose_parameters(asked, corrupted_fraction=CORRUPTED_FRACTION, dropout_fraction=share)
    except ParametersInvalid as error:
        raise ExperimentUnsuitable(
            f"A round asks {asked} nodes, which a protected sum does not allow: {error} Ask more nodes, or write "
            "`protection: encoded`, which gives the same sums up to rounding."
        ) from None
    most = min(group.tolerated_dropouts, asked - SMALLEST_PROTECTED_COHORT)
    if lost > most:
        raise ExperimentUnsuitable(
            f"A round loses {lost} of {asked} nodes and a protected sum withstands {most}; lower `dropouts`, or write "
            "`protection: encoded`, which gives the same sums up to rounding."
        )
    return group


@dataclass(frozen=True, slots=True, kw_only=True)
class _Members:
    """Who takes part in a round's protocol, and what they agreed on."""

    parameters: RoundParameters
    parties: Mapping[ClientId, Party]
    limits: ClientLimits


def _laid_out(plan: Plan, specs: tuple[VectorSpec, ...], protection: Protection, *, cohort: int) -> RoundLayout:
    if protection.has_custodian:
        return round_layout(plan.job, specs, cohort=cohort)
    return RoundLayout(specs=specs, layout=Layout.plan(specs, cohort=cohort), slots=None)


def _parties(parts: Contributions, seeds: Mapping[str, int], layout: Layout, entropy: Entropy) -> dict[ClientId, Party]:
    parties = {}
    for name in sorted({*parts.values, *parts.lost}):
        values = parts.values.get(name)
        words = (
            RingVector.zeros(layout)
            if values is None
            else layout.encode(values, generator=np.random.default_rng(seeds[name])).words
        )
        leaves = Step.MASK if values is None else None
        parties[ClientId(name)] = Party(identity=IdentityKey.generate(entropy), words=words, leaves_at=leaves)
    return parties


def _told(result: RingSum, layout: Layout, transcript: Transcript) -> RoundSum:
    values = layout.decode(result.words, count=len(result.survivors))
    sent = {name: len(data) for name, data in transcript.inputs.items()}
    for _, name, message in transcript.up:
        sent[name] = sent.get(name, 0) + len(message)
    return RoundSum(total=CohortSum(values=values, cohort=len(result.survivors)), bytes_up=max(sent.values()))


def _parameters(plan: Plan, layout: Layout, roster: tuple[ClientId, ...], *, lost: int) -> RoundParameters:
    group = masking_group(len(roster), lost)
    return RoundParameters(
        federation="simulation",
        job_digest=sha256_hex(plan.job.model_dump_json().encode()),
        stage=plan.stage,
        round=plan.round,
        attempt=0,
        roster=roster,
        minimum_cohort=SMALLEST_PROTECTED_COHORT,
        corrupted=group.corrupted,
        threshold=group.threshold,
        neighbours=group.neighbours,
        layout_digest=layout.digest,
        words=layout.shape.runs,
        broadcast_digest=sha256_hex(b"broadcast"),
        plan_digest=sha256_hex(b"plan"),
    )


def _entropy(plan: Plan) -> Entropy:
    """Keys from the seed: nothing is secret in a simulation, and the same run is the same to the byte."""
    counter = 0

    def draw(size: int) -> bytes:
        nonlocal counter
        counter += 1
        text = f"fedseal.simulation.v1 {plan.job.seed} {plan.round} {counter}"
        return hashlib.shake_256(text.encode()).digest(size)

    return draw
