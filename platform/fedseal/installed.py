"""What this installation can run: methods with what they disclose, learners, protections."""

from fedseal.errors import PlatformError
from fedseal.learning import learner_names
from fedseal.methods import method_class, method_names
from fedseal_governance.policy.advice import Offer
from fedseal_governance.vocabulary import Disclosure, Protection

AVAILABLE_PROTECTIONS = frozenset({Protection.MASKING, Protection.HOMOMORPHIC, Protection.HYBRID})


def method_levels() -> dict[str, Disclosure]:
    """What each installed method discloses; one that cannot be loaded is left out."""
    found = {}
    for name in method_names():
        try:
            found[name] = method_class(name).statement.level
        except PlatformError:
            continue  # `fedseal method list` says what is wrong with it
    return found


def installed_offer() -> Offer:
    """What advice on a job may choose from."""
    return Offer(methods=method_levels(), learners=learner_names(), protections=AVAILABLE_PROTECTIONS)
