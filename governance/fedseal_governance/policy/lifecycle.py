"""The life of a policy: states, steps, and the one table that says which step leads where."""

from enum import StrEnum

from fedseal_governance.errors import WrongState


class PolicyState(StrEnum):
    """Where a policy stands."""

    DRAFT = "draft"
    PROPOSED = "proposed"
    APPROVED = "approved"
    IN_FORCE = "in_force"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    EXPIRED = "expired"

    @property
    def plain(self) -> str:
        """The state in plain English."""
        return self.value.replace("_", " ")

    @property
    def is_final(self) -> bool:
        """Whether nothing can follow."""
        return not any(state is self for state, _ in TRANSITIONS)


class PolicyStep(StrEnum):
    """What can happen to a policy."""

    PROPOSE = "propose"
    COMPLETE = "complete"  # the last signature that was needed
    ENTER = "enter"  # its first day has come
    SUPERSEDE = "supersede"
    REVOKE = "revoke"
    EXPIRE = "expire"


TRANSITIONS = {
    (PolicyState.DRAFT, PolicyStep.PROPOSE): PolicyState.PROPOSED,
    (PolicyState.PROPOSED, PolicyStep.COMPLETE): PolicyState.APPROVED,
    (PolicyState.PROPOSED, PolicyStep.REVOKE): PolicyState.REVOKED,
    (PolicyState.PROPOSED, PolicyStep.EXPIRE): PolicyState.EXPIRED,
    (PolicyState.APPROVED, PolicyStep.ENTER): PolicyState.IN_FORCE,
    (PolicyState.APPROVED, PolicyStep.SUPERSEDE): PolicyState.SUPERSEDED,
    (PolicyState.APPROVED, PolicyStep.REVOKE): PolicyState.REVOKED,
    (PolicyState.APPROVED, PolicyStep.EXPIRE): PolicyState.EXPIRED,
    (PolicyState.IN_FORCE, PolicyStep.SUPERSEDE): PolicyState.SUPERSEDED,
    (PolicyState.IN_FORCE, PolicyStep.REVOKE): PolicyState.REVOKED,
    (PolicyState.IN_FORCE, PolicyStep.EXPIRE): PolicyState.EXPIRED,
}


def after(state: PolicyState, step: PolicyStep, *, title: str) -> PolicyState:
    """The state that ``step`` leads to.

    Args:
        state: where the policy stands.
        step: what is to happen.
        title: names the policy in the error.

    Raises:
        WrongState: the step is not possible from there.
    """
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        sentence = f"the {title} is {state.plain}, so the step '{step.value}' is not possible; propose a new version"
        raise WrongState(sentence, current=state.value, wanted=step.value) from None
