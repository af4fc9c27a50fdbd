"""Regenerates the known-answer vectors of encoding and masking in `tests/vectors/masking/`.

Run `python tests/vectors/make_masking_vectors.py`; a test fails if that changes a file. All values come from this
implementation with fixed seeds; its primitives are checked against published vectors elsewhere. Randomness is
SHAKE-256 of a seed, read front to back, so that another implementation can follow: `entropy(seed)`.

Vectors for faults are in `bad/`, named after the fault: a message that a member must refuse at one point of one
of the rounds, and the error that it must give.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedseal_crypto.digests import sha256_hex
from fedseal_crypto.encoding import Layout, RingShape, RingVector, VectorSpec, WordRun
from fedseal_crypto.identity import IdentityKey
from fedseal_crypto.masking import (
    Advertisement,
    ClientId,
    ClientLimits,
    Confirmation,
    Confirmations,
    MaskingClient,
    MaskingServer,
    Party,
    Roster,
    RoundParameters,
    ShareDelivery,
    Step,
    Survivors,
    Transcript,
    WireMessage,
    choose_parameters,
    run_round,
)
from fedseal_crypto.masking._keystream import MASK_KEY_SIZE, Mask, apply_masks
from fedseal_crypto.masking._labels import Usage, derive_key, label
from fedseal_crypto.masking._shamir import split_secret
from fedseal_crypto.masking._shares import channel_key, pair_mask_key, self_mask_commitment, self_mask_key
from fedseal_crypto.secret import SecretBytes

FOLDER = Path(__file__).parent / "masking"
Json = dict[str, object]
SHAPE = RingShape(
    layout_digest=hashlib.sha256(b"vector layout").digest(),
    runs=tuple(WordRun(bits=bits, count=count) for bits, count in ((64, 1), (32, 3), (16, 2), (24, 2))),
)
# Members of each round and who leaves at which step.
ROUNDS: Mapping[str, tuple[int, Mapping[int, Step]]] = {
    "round_3": (3, {}),
    "round_5_one_leaves_before_masking": (5, {1: Step.MASK}),
    "round_8_leaving_at_two_steps": (8, {0: Step.SHARE, 5: Step.MASK}),
    "round_8_leaving_after_masking": (8, {3: Step.CONFIRM, 7: Step.UNMASK}),
}


def entropy(seed: str) -> Callable[[int], bytes]:
    """A stream of bytes: SHAKE-256 of the seed, from the beginning."""
    stream = hashlib.shake_256(seed.encode()).digest(1 << 16)
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return stream[at - size : at]

    return take


def parameters_for(n: int) -> RoundParameters:
    group = choose_parameters(n, corrupted_fraction=0.2, dropout_fraction=0.1)
    return RoundParameters(
        federation="vectors",
        job_digest=sha256_hex(b"job"),
        stage="training",
        round=1,
        attempt=2,
        roster=tuple(ClientId(f"member-{i}") for i in range(n)),
        minimum_cohort=3,
        corrupted=group.corrupted,
        threshold=group.threshold,
        neighbours=group.neighbours,
        layout_digest=SHAPE.layout_digest,
        words=SHAPE.runs,
        broadcast_digest=sha256_hex(b"broadcast"),
        plan_digest=sha256_hex(b"plan"),
    )


def parties_for(parameters: RoundParameters, leaves: Mapping[int, Step]) -> dict[ClientId, Party]:
    return {
        name: Party(
            identity=IdentityKey.generate(entropy(f"identity {name}")),
            words=RingVector.from_bytes(SHAPE, entropy(f"words {name}")(SHAPE.wire_bytes)),
            leaves_at=leaves.get(index),
        )
        for index, name in enumerate(parameters.roster)
    }


# --- parts --------------------------------------------------------------------------------------------


def key_vectors() -> Json:
    context, secret = hashlib.sha256(b"context").digest(), hashlib.sha256(b"secret").digest()
    one, other = ClientId("member-a"), ClientId("member-b")
    sealed = channel_key(secret, context, sender=one, receiver=other)
    return {
        "context": context.hex(),
        "secret": secret.hex(),
        "one": one,
        "other": other,
        "labels": {usage.value: label(usage, b"part", b"").hex() for usage in Usage},
        "derived": {usage.value: derive_key(secret, usage, b"part", context=context).hex() for usage in Usage},
        "pair_mask_key": pair_mask_key(secret, context, one, other).reveal().hex(),
        "self_mask_key": self_mask_key(SecretBytes(secret), context, one).reveal().hex(),
        "self_mask_commitment": self_mask_commitment(SecretBytes(secret), context, one).hex(),
        "channel_key_one_to_other": sealed.key.reveal().hex(),
        "channel_associated_data": sealed.associated.hex(),
    }


def keystream_vectors() -> list[Json]:
    shapes = {
        "each width": SHAPE,
        "two segments": RingShape(layout_digest=bytes(32), runs=(WordRun(bits=32, count=(1 << 19) + 5),)),
    }
    out: list[Json] = []
    for name, shape in shapes.items():
        vector, key = RingVector.zeros(shape), hashlib.sha256(name.encode()).digest()[:MASK_KEY_SIZE]
        apply_masks(vector, [Mask(SecretBytes(key), add=True)])
        raw = vector.to_bytes()
        out.append(
            {
                "name": name,
                "key": key.hex(),
                "runs": [[run.bits, run.count] for run in shape.runs],
                "first_bytes": raw[:64].hex(),
                "last_bytes": raw[-20:].hex(),
                "sha256": sha256_hex(raw),
            }
        )
    return out


def shamir_vectors() -> list[Json]:
    out: list[Json] = []
    for threshold, holders in ((1, (1,)), (2, (1, 2, 3)), (3, (2, 5, 7, 65_535)), (20, tuple(range(1, 31)))):
        seed = f"shamir {threshold}"
        secret = hashlib.sha256(seed.encode()).digest()
        shares = split_secret(secret, threshold=threshold, holders=holders, entropy=entropy(seed))
        out.append(
            {
                "threshold": threshold,
                "secret": secret.hex(),
                "entropy_seed": seed,
                "shares": {str(x): share.hex() for x, share in shares.items()},
            }
        )
    return out


def encoding_vectors() -> list[Json]:
    """Values are whole steps, so that rounding is not random."""
    cases: dict[str, tuple[int, list[tuple[str, float, float, list[float]]]]] = {
        "one vector": (3, [("v", 1.0, 0.25, [0.0, 1.0, -1.0, 0.25, -0.75])]),
        "clipped": (3, [("v", 1.0, 0.5, [1.5, -9.0, 0.5])]),
        "lanes of 7 bits": (50, [("v", 1.0, 1.0, [float(i % 3 - 1) for i in range(44)])]),
        "every width": (
            10,
            [
                ("wide", 2.0**40, 1.0, [2.0**40, -(2.0**39), 7.0]),
                ("middle", 2.0**26, 1.0, [-(2.0**26), 1.0, 2.0]),
                ("small", 2.0**10, 1.0, [-1024.0]),
                ("three bytes", 2.0**18, 1.0, [2.0**18, -1.0]),
            ],
        ),
    }
    out: list[Json] = []
    for name, (cohort, vectors) in cases.items():
        specs = [
            VectorSpec(name=vector.replace(" ", "-"), length=len(values), bound=bound, resolution=resolution)
            for vector, bound, resolution, values in vectors
        ]
        layout = Layout.plan(specs, cohort=cohort)
        given = {spec.name: np.array(values) for spec, (_, _, _, values) in zip(specs, vectors, strict=True)}
        encoded = layout.encode(given, generator=np.random.default_rng(0))
        out.append(
            {
                "name": name,
                "cohort": cohort,
                "vectors": [
                    {
                        "name": spec.name,
                        "bound": spec.bound,
                        "resolution": spec.resolution,
                        "values": given[spec.name].tolist(),
                        "lane_bits": segment.lanes.bits,
                        "lanes": segment.lanes.per_word,
                        "word_bits": segment.word_bits,
                        "clipped": encoded.clipped[spec.name],
                    }
                    for spec, segment in zip(specs, layout.segments, strict=True)
                ],
                "layout_digest": layout.digest.hex(),
                "words": encoded.words.to_bytes().hex(),
            }
        )
    return out


def round_vectors(name: str) -> Json:
    """A whole round: what members start from, every message once, and the sum."""
    n, leaves = ROUNDS[name]
    parameters = parameters_for(n)
    parties, transcript = parties_for(parameters, leaves), Transcript()
    result = run_round(parameters, parties, limits=ClientLimits(), entropy=entropy(name), transcript=transcript)
    return {
        "entropy_seed": name,
        "parameters": parameters.encode().hex(),
        "context0": parameters.context0().hex(),
        "members": {
            member: {
                "identity_seed": f"identity {member}",
                "public_identity": party.identity.public.raw.hex(),
                "words": party.words.to_bytes().hex(),
                "leaves_at": party.leaves_at,
                "masked_words": transcript.inputs[member].hex() if member in transcript.inputs else None,
            }
            for member, party in parties.items()
        },
        "from_members": [[step, member, data.hex()] for step, member, data in transcript.up],
        "to_members": _once(transcript),
        "survivors": result.survivors,
        "dropped": result.dropped,
        "sum": result.words.to_bytes().hex(),
    }


def _once(transcript: Transcript) -> list[list[object]]:
    """Each distinct message with its step and receivers."""
    receivers: dict[tuple[Step, bytes], list[str]] = {}
    for step, member, data in transcript.down:
        receivers.setdefault((step, data), []).append(member)
    return [[step, names, data.hex()] for (step, data), names in receivers.items()]


# --- faults -------------------------------------------------------------------------------------------


def arrive(name: str, step: Step) -> tuple[MaskingServer, dict[ClientId, MaskingClient]]:
    """The round at the beginning of a step: the same computation as `run_round` up to there."""
    n, leaves = ROUNDS[name]
    parameters = parameters_for(n)
    parties = parties_for(parameters, leaves)
    members = {member: party.identity.public for member, party in parties.items()}
    server, source = MaskingServer(parameters, members), entropy(name)
    clients = {
        member: MaskingClient(parameters, party.identity, members, ClientLimits(), source)
        for member, party in parties.items()
    }
    order = list(Step)
    while server.step is not step:
        for member, client in clients.items():
            left = parties[member].leaves_at
            if member not in server.expected or (left and order.index(left) <= order.index(server.step)):
                continue
            instruction = server.instruction_for(member)
            answer = client.advertise() if instruction is None else client.answer(instruction, parties[member].words)
            server.receive(answer)
        server.close_step()
    return server, clients


def faults() -> dict[str, Json]:
    """By name of the fault: the round, the step, who receives the message, the message, the error."""
    name, victim = "round_5_one_leaves_before_masking", ClientId("member-0")
    out: dict[str, Json] = {}

    def add(fault: str, step: Step, message: WireMessage, error: str) -> None:
        out[fault] = {
            "round": name,
            "step": step,
            "receiver": victim,
            "message": message.encode().hex(),
            "error": error,
        }

    server, _ = arrive(name, Step.SHARE)
    roster = server.instruction_for(victim)
    if isinstance(roster, Roster):
        for fault, changed, error in _roster_faults(roster):
            add(fault, Step.SHARE, changed, error)
    server, _ = arrive(name, Step.MASK)
    delivery = server.instruction_for(victim)
    if isinstance(delivery, ShareDelivery):
        for fault, changed_delivery, error in _delivery_faults(delivery):
            add(fault, Step.MASK, changed_delivery, error)
    server, _ = arrive(name, Step.CONFIRM)
    survivors = server.instruction_for(victim)
    if isinstance(survivors, Survivors):
        add("survivors_without_receiver", Step.CONFIRM, replace(survivors, survivors=b"\x1c"), "SurvivorsRefused")
        add("survivors_too_few", Step.CONFIRM, replace(survivors, survivors=b"\x0d"), "CohortTooSmall")
        add("survivors_beyond_roster", Step.CONFIRM, replace(survivors, survivors=b"\x3d"), "SurvivorsRefused")
        add("survivors_another_context", Step.CONFIRM, replace(survivors, context=bytes(32)), "ContextMismatch")
    server, _ = arrive(name, Step.UNMASK)
    confirmations = server.instruction_for(victim)
    if isinstance(confirmations, Confirmations):
        for fault, changed_confirmations, error in _confirmation_faults(confirmations):
            add(fault, Step.UNMASK, changed_confirmations, error)
    return out


def _signed(advertisement: Advertisement) -> Advertisement:
    identity = IdentityKey.generate(entropy(f"identity {advertisement.client}"))
    return replace(advertisement, signature=identity.sign(advertisement.signed()))


def _roster_faults(roster: Roster) -> list[tuple[str, Roster, str]]:
    mine, theirs, third = roster.advertisements[:3]
    low_order = bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")
    not_canonical = bytes.fromhex("ee" + "ff" * 30 + "7f")

    def second(changed: Advertisement) -> Roster:
        return replace(roster, advertisements=(mine, changed, *roster.advertisements[2:]))

    other_me = _signed(replace(mine, commitment=bytes(32)))
    invented = replace(third, client=ClientId("member-x"))
    return [
        ("key_of_low_order", second(_signed(replace(theirs, mask_key=low_order))), "KeyRefused"),
        ("key_not_canonical", second(_signed(replace(theirs, channel_key=not_canonical))), "KeyRefused"),
        ("key_twice", second(_signed(replace(theirs, mask_key=third.channel_key))), "KeyRefused"),
        ("key_substituted", second(replace(theirs, mask_key=third.mask_key)), "SignatureRefused"),
        ("advertisement_unsigned", second(replace(theirs, signature=bytes(64))), "SignatureRefused"),
        ("identity_of_another", second(_signed(replace(theirs, identity=mine.identity))), "IdentityMismatch"),
        ("attempt_of_another", second(_signed(replace(theirs, context0=bytes(32)))), "ContextMismatch"),
        ("own_entry_changed", _roster(roster, other_me, *roster.advertisements[1:]), "OwnEntryChanged"),
        ("member_invented", _roster(roster, *roster.advertisements, invented), "UnknownMember"),
        ("roster_too_short", _roster(roster, *roster.advertisements[:3]), "CohortTooSmall"),
    ]


def _roster(roster: Roster, *advertisements: Advertisement) -> Roster:
    return replace(roster, advertisements=advertisements)


def _delivery_faults(delivery: ShareDelivery) -> list[tuple[str, ShareDelivery, str]]:
    first, second = delivery.shares[:2]
    spoiled = replace(first, sealed=first.sealed[:-1] + bytes([first.sealed[-1] ^ 1]))
    swapped = replace(first, sealed=second.sealed)
    rest = delivery.shares[1:]
    return [
        ("share_tampered", replace(delivery, shares=(spoiled, *rest)), "SharesRefused"),
        ("share_swapped", replace(delivery, shares=(swapped, *rest)), "SharesRefused"),
        ("delivery_for_another_member", replace(delivery, receiver=ClientId("member-3")), "SharesRefused"),
        ("delivery_too_short", replace(delivery, shares=delivery.shares[:2]), "CohortTooSmall"),
    ]


def _confirmation_faults(message: Confirmations) -> list[tuple[str, Confirmations, str]]:
    mine, theirs = message.confirmations[:2]
    other = replace(theirs, survivors=b"\x1f")
    identity = IdentityKey.generate(entropy(f"identity {theirs.client}"))
    two_stories: Confirmation = replace(other, signature=identity.sign(other.signed()))
    rest = message.confirmations[2:]
    return [
        ("survivors_two_stories", replace(message, confirmations=(mine, two_stories, *rest)), "EquivocationDetected"),
        ("confirmation_unsigned", replace(message, confirmations=(mine, other, *rest)), "SignatureRefused"),
        ("confirmations_too_few", replace(message, confirmations=message.confirmations[:3]), "CohortTooSmall"),
    ]


def build() -> dict[str, bytes]:
    """Every file's bytes, by its name below the folder."""
    about = "Made by tests/vectors/make_masking_vectors.py from fedseal's own implementation; bytes are hexadecimal."
    files: dict[str, object] = {
        "keys.json": key_vectors(),
        "keystream.json": keystream_vectors(),
        "shamir.json": shamir_vectors(),
        "encoding.json": encoding_vectors(),
        **{f"{name}.json": round_vectors(name) for name in ROUNDS},
        **{f"bad/{name}.json": fault for name, fault in faults().items()},
    }
    return {
        name: (json.dumps({"about": about, "vectors": value}, indent=1, ensure_ascii=True) + "\n").encode()
        for name, value in files.items()
    }


def main() -> None:
    """Write every file."""
    for name, data in build().items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    sys.stdout.write(f"wrote {FOLDER}\n")


if __name__ == "__main__":
    main()
