"""Reference of the files that people write: policies, jobs, schemas, configuration; and what methods disclose."""

from collections.abc import Callable, Mapping

from blocks import meanings
from blocks.fields import field_table
from blocks.markdown import code, table
from pydantic import BaseModel

from fedseal.authority.config import AuthorityConfig
from fedseal.coordinator.config import CoordinatorSettings
from fedseal.custodian.config import CustodianSettings
from fedseal.learning import learner_class, learner_names
from fedseal.methods import Method, method_class, method_names
from fedseal.methods.evaluation import Evaluation
from fedseal.methods.statistics import Statistics
from fedseal.node.config import NodeSettings
from fedseal_governance.datasets import DatasetSchema
from fedseal_governance.jobs import JobDocument
from fedseal_governance.policy.cases import CaseFile
from fedseal_governance.policy.model import PolicyDocument
from fedseal_governance.purpose_codes import BUILT_IN, NO_PURPOSE
from fedseal_governance.purposes import DISEASE_RESEARCH, TERMS, label_of

_STAGES: tuple[type[Method], ...] = (Statistics, Evaluation)


def _table_of(model: type[BaseModel], words: Mapping[str, str], what: str) -> Callable[[], str]:
    return lambda: field_table(model, words, what=what)


def _purposes() -> str:
    rows = [
        (
            code(term.code) + (", with a disease: `/MONDO:…`" if term.code == DISEASE_RESEARCH else ""),
            term.label,
            term.shorthand,
            code(term.broader) if term.broader else "",
        )
        for term in TERMS.values()
    ]
    return table(("code", "label", "shorthand", "lies within"), rows)


def _methods() -> list[type[Method]]:
    installed = [method_class(name) for name in method_names()]
    return list({method.name: method for method in (*_STAGES, *installed)}.values())


def _disclosure() -> str:
    parts = []
    for method in _methods():
        statement = method.statement
        parts += [
            f"## {method.name}",
            f"{method.title}. Reference: {method.reference}.",
            f"Level: {code(statement.level.name)}.",
            statement.paragraph,
            table(
                ("who sees it", "name", "what it is"),
                [(item.party, code(item.name), item.description) for item in statement.quantities],
            ),
        ]
    return "\n\n".join(parts)


def _purpose_codes() -> str:
    research = {key: purpose for key, purpose in BUILT_IN.items() if purpose != NO_PURPOSE}
    rows = [(code(key), code(purpose), label_of(purpose)) for key, purpose in sorted(research.items())]
    others = ", ".join(code(key) for key in sorted(BUILT_IN.keys() - research.keys()))
    return f"{table(('code', 'stands for', 'label'), rows)}\n\nThese permit no research: {others}."


def _settings() -> str:
    parts = []
    owners = [(f"method {code(item.name)}", item.settings_model) for item in _methods() if item not in _STAGES]
    owners += [(f"learner {code(name)}", learner_class(name).settings_model) for name in learner_names()]
    for owner, model in owners:
        words = {name: info.description or "" for name, info in model.model_fields.items()}
        parts += [f"Settings of the {owner}:", field_table(model, words, what=owner)]
    return "\n\n".join(parts)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "policy-fields": _table_of(PolicyDocument, meanings.POLICY, "a policy"),
    "case-fields": _table_of(CaseFile, meanings.CASES, "a file of cases"),
    "job-fields": _table_of(JobDocument, meanings.JOB, "a job"),
    "schema-fields": _table_of(DatasetSchema, meanings.SCHEMA, "a schema"),
    "coordinator-fields": _table_of(CoordinatorSettings, meanings.COORDINATOR, "coordinator.yaml"),
    "node-fields": _table_of(NodeSettings, meanings.NODE, "node.yaml"),
    "custodian-fields": _table_of(CustodianSettings, meanings.CUSTODIAN, "custodian.yaml"),
    "authority-fields": _table_of(AuthorityConfig, meanings.AUTHORITY, "authority.yaml"),
    "purposes": _purposes,
    "purpose-codes": _purpose_codes,
    "disclosure": _disclosure,
    "settings": _settings,
}
