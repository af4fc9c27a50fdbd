"""The documents of the tests: a dataset with its schema, consents, a policy, and signed jobs."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from fedseal.documents import SignedJob, sign_job
from fedseal_crypto.digests import sha256_hex
from fedseal_governance.jobs import load_job
from tests.unit.node.parties import NODES, SCIENTIST, Consortium

DATASET = "hearts"
PURPOSE = "DUO:0000006"
ROWS = 12
MINIMUM_RECORDS = 8

SCHEMA = b"""\
dataset: hearts
version: 1
description: Small tables for tests.
columns:
  - {name: pseudonym, role: record_id}
  - {name: age, type: number, range: [0, 120], unit: years}
  - {name: sex, type: category, categories: [female, male]}
  - {name: ill, type: boolean, role: target}
"""

_POLICY = """\
policy: heart-research
version: 1
owner: Heart Consortium
datasets: [hearts]
purposes: [{code: "DUO:0000006", label: health or medical or biomedical research}]
jobs: {kinds: [training, statistics], methods: [fedavg], learners: [logistic-regression], max_rounds: 10, max_local_epochs: 2}
protection: {allowed: [masking], coordinator_may_learn: SUM, minimum_cohort: 3}
privacy: {mechanism: none}
consent: {required: true, minimum_records: 8}
approval: {compliance_officers: 2, node_operator_per_job: false}
retention: {audit_years: 10, model_years: 2}
valid: {from: 2026-01-01, until: 2027-12-31}
"""  # noqa: E501 - one clause a line


def pseudonyms(node: str, rows: int = ROWS) -> tuple[str, ...]:
    """Record ids of a node's table."""
    return tuple(f"{node[:3].upper()}-{number:03}" for number in range(rows))


def table_of(node: str, rows: int = ROWS) -> bytes:
    """A node's table, always the same: older people are ill more often."""
    draw = random.Random(node)  # noqa: S311 - made-up patients
    lines = ["pseudonym,age,sex,ill"]
    for record in pseudonyms(node, rows):
        age = draw.randint(20, 90)
        lines.append(
            f"{record},{age},{draw.choice(['female', 'male'])},{'TRUE' if draw.randint(0, 90) < age else 'FALSE'}"
        )
    return ("\n".join(lines) + "\n").encode()


def consents_of(node: str, rows: int = ROWS) -> bytes:
    """A consent for every record of a node's table."""
    lines = ["pseudonym,purpose,given_on,valid_until,form_version,recorded_by"]
    lines += [f"{record},{PURPOSE},2025-01-01,2030-01-01,form-1,clerk" for record in pseudonyms(node, rows)]
    return ("\n".join(lines) + "\n").encode()


def policy_with(replacements: Mapping[str, str] | None = None) -> bytes:
    """The policy with some of its text replaced."""
    text = _POLICY
    for old, new in (replacements or {}).items():
        if old not in text:
            message = f"the policy does not contain {old!r}"
            raise ValueError(message)
        text = text.replace(old, new)
    return text.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFile:
    """A job that takes milliseconds."""

    name: str = "small"
    training_rounds: int = 0
    nodes: tuple[str, ...] = NODES
    minimum_cohort: int = 3
    step_seconds: int = 60
    seed: int = 1
    purpose: str = PURPOSE
    dataset: str = DATASET
    method: str = "fedavg"

    def to_yaml(self) -> bytes:
        training = f"""\
method: {{name: {self.method}, rounds: {self.training_rounds}, settings: {{local_epochs: 1, clip: 1.0}}}}
learner: {{name: logistic-regression, settings: {{learning_rate: 0.1, batch_size: 8}}}}
evaluation: {{holdout: 0.3, seed: 1}}
target: ill
"""
        return f"""\
job: {self.name}
version: 1
description: A small job for tests.
purpose: "{self.purpose}"
dataset: {self.dataset}
kind: {"training" if self.training_rounds else "statistics"}
{training if self.training_rounds else ""}\
features: [age, sex]
protection: masking
disclosure: SUM
nodes: [{", ".join(self.nodes)}]
minimum_cohort: {self.minimum_cohort}
step_timeout_seconds: {self.step_seconds}
seed: {self.seed}
weights: {{maximum_rows: 100}}
""".encode()

    def signed(self, consortium: Consortium, by: str = SCIENTIST) -> SignedJob:
        """The job signed by a person of the consortium."""
        data, person = self.to_yaml(), consortium.parties[by]
        envelope = sign_job(data, key=person.key, certificate_pem=person.identity_pem)
        return SignedJob(
            digest=sha256_hex(data), document=load_job(data, "job"), signer=person.member, envelope=envelope
        )
