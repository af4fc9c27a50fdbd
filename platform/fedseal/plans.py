"""The digest of everything that the parties of a job agreed on besides the round itself.

It goes into the parameters of each attempt and so into every mask: nodes that run another schema, another
learner's code or another set of nodes produce noise together instead of a sum.
"""

from fedseal import __version__
from fedseal.learning import learner_digest
from fedseal_crypto.canonical import canonical_json
from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_governance.jobs import JobDocument

PROTOCOL = "fedseal/plan/1"


def plan_digest(document: JobDocument, *, job: Digest, schema: Digest, key: Digest | None = None) -> Digest:
    """Digest over the job, the schema file, the learner's code, this release's version and the custodian's key."""
    learner = None if document.learner is None else learner_digest(document.learner.name)
    agreed = {"protocol": PROTOCOL, "release": __version__, "job": job, "schema": schema, "learner": learner}
    if key is not None:
        agreed["key"] = key
    return sha256_hex(canonical_json(agreed))
