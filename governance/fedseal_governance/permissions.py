"""Who may do what, and where: the one table that decides, for people by their roles and for machines by their kind.

A row says for one operation at one kind of party which roles and which machines may do it, whether a person must
belong to the party's own organisation, and where a second person is needed. Everything that is not in the table is
denied. The coordinator's services and the commands at a node ask here; the reference in the documentation and the
tests of each cell are made from the same rows.

Rules kept here:

1. A decision depends on the verified certificate of the caller and on the table, never on what a request says.
2. People hold roles; machines do not. The machine of a party is whoever may use that party's own unprotected key:
   its process, or an account on its machine that gives no `--as`.
3. The four-eyes rules themselves are kept where their facts are: signatures at the policy's store, agreements at the
   node; a row only names them, so that a reader finds all of it in one place.

Left out: who may read files on a party's own machine (its operating system decides), and the authority's root key
(its passphrase decides).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from fedseal_crypto.identity import PartyKind, Role
from fedseal_governance.errors import RefusedError

PEOPLE = frozenset(Role)


class Operation(StrEnum):
    """Everything that somebody may be allowed or denied; a node's transactions have the same names."""

    # people, at the coordinator
    JOB_CHECK = "job.check"
    JOB_SUBMIT = "job.submit"
    JOB_READ = "job.read"
    JOB_STOP = "job.stop"
    NODE_LIST = "node.list"
    ARTEFACT_READ = "artefact.read"
    REVOCATIONS_PUBLISH = "revocations.publish"
    # nodes, at the coordinator
    ROUND_ATTEND = "round.attend"
    ROUND_REPORT = "round.report"
    ROUND_CONTRIBUTE = "round.contribute"
    BROADCAST_READ = "broadcast.read"
    CHECKPOINT_READ = "checkpoint.read"
    CHECKPOINT_COSIGN = "checkpoint.cosign"
    # custodians, at the coordinator
    CUSTODY_ATTEND = "custody.attend"
    CUSTODY_ANSWER = "custody.answer"
    CIPHERTEXT_READ = "ciphertext.read"
    # people, at the coordinator: the federation's policies
    FEDERATION_POLICY_PROPOSE = "federation.policy.propose"
    FEDERATION_POLICY_APPROVE = "federation.policy.approve"
    FEDERATION_POLICY_REVOKE = "federation.policy.revoke"
    FEDERATION_POLICY_READ = "federation.policy.read"
    # people, at a node
    POLICY_PROPOSE = "policy.propose"
    POLICY_APPROVE = "policy.approve"
    POLICY_REVOKE = "policy.revoke"
    JOB_AGREE = "job.agree"
    DATASET_REGISTER = "dataset.register"
    CONSENT_IMPORT = "consent.import"
    CONSENT_RECORD = "consent.record"
    CONSENT_WITHDRAW = "consent.withdraw"
    DATASET_APPROVE = "dataset.approve"
    RETENTION_HOLD = "retention.hold"
    RETENTION_RELEASE = "retention.release"
    RETENTION_APPLY = "retention.apply"
    # people, at a custodian
    CUSTODY_SPLIT = "custody.split"
    CUSTODY_REASSEMBLE = "custody.reassemble"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table.

    Attributes:
        at: the kind of party where it is done.
        also: other kinds of party where it is done in the same way.
        roles: people with one of these may do it.
        machines: machines of these kinds may do it with their own certificate or key.
        own: whether a person must belong to the organisation of the party where it is done. Coordinator and authority
            belong to the whole federation, so there it means nothing.
        four_eyes: who else must act, in words; empty if nobody.
        what: what the operation is, in a few words.
    """

    at: PartyKind
    what: str
    also: frozenset[PartyKind] = frozenset()
    roles: frozenset[Role] = frozenset()
    machines: frozenset[PartyKind] = frozenset()
    own: bool = False
    four_eyes: str = ""


class Caller(Protocol):
    """What a decision needs of a verified certificate; `fedseal_crypto.certificates.Party` has it."""

    @property
    def kind(self) -> PartyKind:
        """What kind of party calls."""
        ...

    @property
    def roles(self) -> Iterable[Role]:
        """The roles of a person; empty for a machine."""
        ...

    @property
    def organisation(self) -> str:
        """Whom the caller belongs to."""
        ...

    @property
    def label(self) -> str:
        """The caller for a sentence and for the log: ``person/ada``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A party's own machine as a caller, known by its folder instead of by a connection."""

    kind: PartyKind
    label: str
    organisation: str
    roles: frozenset[Role] = frozenset()


class PermissionDenied(RefusedError):
    """The table does not allow it; the party where it was tried notes the attempt in its log.

    Attributes:
        operation: what was tried.
        caller: who tried it.
    """

    def __init__(self, sentence: str, *, operation: str, caller: str) -> None:
        super().__init__(sentence)
        self.operation = operation
        self.caller = caller


_COORDINATOR, _NODE = PartyKind.COORDINATOR, PartyKind.NODE
_NODES = frozenset({PartyKind.NODE})
_CUSTODIAN = frozenset({PartyKind.CUSTODIAN})
_ANYWHERE = frozenset({PartyKind.COORDINATOR, PartyKind.CUSTODIAN, PartyKind.AUTHORITY})
_OFFICER, _OPERATOR = Role.COMPLIANCE_OFFICER, Role.NODE_OPERATOR

PERMISSIONS: Mapping[Operation, Rule] = MappingProxyType(
    {
        Operation.JOB_CHECK: Rule(at=_COORDINATOR, roles=PEOPLE, what="ask what each policy says to a job file"),
        Operation.JOB_SUBMIT: Rule(
            at=_COORDINATOR,
            roles=frozenset({Role.DATA_SCIENTIST}),
            four_eyes="each node decides by a policy that its own officers signed",
            what="sign a job and offer it to its nodes",
        ),
        Operation.JOB_READ: Rule(at=_COORDINATOR, roles=PEOPLE, what="list, show and watch jobs"),
        Operation.JOB_STOP: Rule(
            at=_COORDINATOR,
            roles=frozenset({Role.DATA_SCIENTIST, Role.ADMINISTRATOR, Role.COMPLIANCE_OFFICER}),
            what="end a job",
        ),
        Operation.NODE_LIST: Rule(at=_COORDINATOR, roles=PEOPLE, what="see which nodes are present"),
        Operation.ARTEFACT_READ: Rule(
            at=_COORDINATOR, roles=PEOPLE, what="fetch the model, the statistics and the record of a job"
        ),
        Operation.REVOCATIONS_PUBLISH: Rule(
            at=_COORDINATOR, roles=PEOPLE, what="bring a revocation list, which the authority has signed"
        ),
        Operation.FEDERATION_POLICY_PROPOSE: Rule(
            at=_COORDINATOR,
            roles=frozenset({_OFFICER, Role.ADMINISTRATOR}),
            four_eyes="see federation.policy.approve",
            what="put a policy of the federation before the officers",
        ),
        Operation.FEDERATION_POLICY_APPROVE: Rule(
            at=_COORDINATOR,
            roles=frozenset({_OFFICER}),
            four_eyes="officers of as many organisations as the policy's `approval.compliance_officers`, at least two",
            what="sign a policy of the federation",
        ),
        Operation.FEDERATION_POLICY_REVOKE: Rule(
            at=_COORDINATOR, roles=frozenset({_OFFICER}), what="end a policy of the federation at once"
        ),
        Operation.FEDERATION_POLICY_READ: Rule(
            at=_COORDINATOR, roles=PEOPLE, what="read the federation's policies and what a new one would change"
        ),
        Operation.ROUND_ATTEND: Rule(at=_COORDINATOR, machines=_NODES, what="be present and receive instructions"),
        Operation.ROUND_REPORT: Rule(at=_COORDINATOR, machines=_NODES, what="answer offers and steps of a round"),
        Operation.ROUND_CONTRIBUTE: Rule(at=_COORDINATOR, machines=_NODES, what="send a protected vector"),
        Operation.BROADCAST_READ: Rule(
            at=_COORDINATOR, machines=_NODES, what="fetch the broadcast of a job that names the node"
        ),
        Operation.CHECKPOINT_READ: Rule(
            at=_COORDINATOR, machines=_NODES, what="fetch a checkpoint of the coordinator's log"
        ),
        Operation.CHECKPOINT_COSIGN: Rule(at=_COORDINATOR, machines=_NODES, what="countersign such a checkpoint"),
        Operation.CUSTODY_ATTEND: Rule(
            at=_COORDINATOR, machines=_CUSTODIAN, what="be present and receive a custodian's tasks"
        ),
        Operation.CUSTODY_ANSWER: Rule(
            at=_COORDINATOR, machines=_CUSTODIAN, what="publish a key, deliver an opened sum, or decline either"
        ),
        Operation.CIPHERTEXT_READ: Rule(
            at=_COORDINATOR, machines=_CUSTODIAN, what="fetch the ciphertexts of a sum that is to be opened"
        ),
        Operation.POLICY_PROPOSE: Rule(
            at=_NODE,
            also=_CUSTODIAN,
            roles=frozenset({_OFFICER, _OPERATOR, Role.ADMINISTRATOR}),
            own=True,
            four_eyes="see policy.approve",
            what="put a policy before the officers",
        ),
        Operation.POLICY_APPROVE: Rule(
            at=_NODE,
            also=_CUSTODIAN,
            roles=frozenset({_OFFICER}),
            own=True,
            four_eyes="as many officers as the policy's `approval.compliance_officers`; never the proposer alone",
            what="sign a policy",
        ),
        Operation.POLICY_REVOKE: Rule(
            at=_NODE, also=_CUSTODIAN, roles=frozenset({_OFFICER}), own=True, what="end a policy at once"
        ),
        Operation.JOB_AGREE: Rule(
            at=_NODE,
            roles=frozenset({_OPERATOR}),
            own=True,
            four_eyes="where the policy's `approval.node_operator_per_job` asks; never the job's data scientist",
            what="agree to a single job",
        ),
        Operation.DATASET_REGISTER: Rule(
            at=_NODE, roles=frozenset({_OPERATOR}), machines=_NODES, own=True, what="pin a dataset"
        ),
        Operation.CONSENT_IMPORT: Rule(
            at=_NODE, roles=frozenset({_OPERATOR, _OFFICER}), machines=_NODES, own=True, what="import consents"
        ),
        Operation.CONSENT_RECORD: Rule(
            at=_NODE, roles=frozenset({_OPERATOR, _OFFICER}), machines=_NODES, own=True, what="record one consent"
        ),
        Operation.CONSENT_WITHDRAW: Rule(
            at=_NODE, roles=frozenset({_OPERATOR, _OFFICER}), machines=_NODES, own=True, what="record a withdrawal"
        ),
        Operation.DATASET_APPROVE: Rule(
            at=_NODE,
            roles=frozenset({_OPERATOR}),
            machines=_NODES,
            own=True,
            what="approve a dataset again after it has changed",
        ),
        Operation.RETENTION_HOLD: Rule(
            at=_NODE,
            also=_ANYWHERE,
            roles=frozenset({_OFFICER}),
            own=True,
            what="keep a job's documents beyond their time",
        ),
        Operation.RETENTION_RELEASE: Rule(
            at=_NODE, also=_ANYWHERE, roles=frozenset({_OFFICER}), own=True, what="end such a hold"
        ),
        Operation.RETENTION_APPLY: Rule(
            at=_NODE,
            also=_ANYWHERE,
            roles=frozenset({_OFFICER}),
            own=True,
            what="delete documents whose time is over",
        ),
        Operation.CUSTODY_SPLIT: Rule(
            at=PartyKind.CUSTODIAN,
            roles=frozenset({_OFFICER}),
            own=True,
            four_eyes="two officers of the custodian's organisation",
            what="split a decryption key among organisations",
        ),
        Operation.CUSTODY_REASSEMBLE: Rule(
            at=PartyKind.CUSTODIAN,
            roles=PEOPLE,
            four_eyes="as many holders of shares as the split asked for, each of the share's organisation",
            what="bring shares of a decryption key together",
        ),
    }
)


def require_permitted(operation: str, caller: Caller, *, organisation: str | None) -> None:
    """Let `caller` do `operation` at a party of `organisation`, or refuse.

    Args:
        operation: one of `Operation`; anything else is denied.
        caller: from a certificate that was verified just now, or the party's own machine.
        organisation: of the party where it is done; None for a party that belongs to the whole federation.

    Raises:
        PermissionDenied: the table does not allow it.
    """
    rule = _RULES.get(operation)
    if rule is None:
        reason = f"nobody may do {operation}: it is not in the table of permissions"
    else:
        reason = _objection(operation, rule, caller, organisation)
    if reason:
        raise PermissionDenied(reason, operation=operation, caller=caller.label)


def holds_role(operation: Operation, caller: Caller) -> bool:
    """Whether a person has a role for `operation`, wherever that is; for judging who signed a document."""
    return caller.kind is PartyKind.PERSON and bool(frozenset(caller.roles) & PERMISSIONS[operation].roles)


_RULES: Mapping[str, Rule] = {operation.value: rule for operation, rule in PERMISSIONS.items()}


def _objection(operation: str, rule: Rule, caller: Caller, organisation: str | None) -> str:
    """Why not, as one sentence; empty if nothing speaks against it."""
    if caller.kind is not PartyKind.PERSON:
        if caller.kind in rule.machines:
            return ""
        return f"only {_who(rule)} may call this ({operation}); you are the {_described(caller)}"
    held = frozenset(caller.roles)
    name = caller.label.partition("/")[2]
    if not rule.roles:
        return f"only {_who(rule)} may call this ({operation}); you are the {_described(caller)}"
    if not held & rule.roles:
        return (
            f"{name} holds {_words(held) or 'no role'}; this needs the role {_words(rule.roles, ' or ')} "
            f"({operation}); ask an administrator for it"
        )
    if rule.own and organisation is not None and caller.organisation != organisation:
        return (
            f"{name} belongs to {caller.organisation}, and {operation} here is for the people of {organisation}; "
            "ask one of its own"
        )
    return ""


def _who(rule: Rule) -> str:
    kinds = [f"{kind.value}s" for kind in sorted(rule.machines)]
    return " and ".join([*(["people"] if rule.roles else []), *kinds]) or "nobody"


def _described(caller: Caller) -> str:
    kind, _, name = caller.label.partition("/")
    return f"{kind} {name}"


def _words(roles: Iterable[Role], between: str = ", ") -> str:
    return between.join(role.value.replace("_", " ") for role in sorted(roles))


__all__ = [
    "PEOPLE",
    "PERMISSIONS",
    "Caller",
    "Machine",
    "Operation",
    "PermissionDenied",
    "Rule",
    "holds_role",
    "require_permitted",
]
