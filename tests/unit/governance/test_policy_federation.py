"""The federation's policies: signed by officers of several organisations, pinned, ended, and never taken on trust."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from fedseal_crypto.digests import Digest, sha256_hex
from fedseal_crypto.dsse import SignedDocument, sign_document
from fedseal_crypto.errors import PeerError
from fedseal_crypto.identity import Role
from fedseal_governance.errors import DocumentError, NotFound, RefusedError, TamperError
from fedseal_governance.policy import Owner, PolicyState, StoredPolicy, approve, load_policy, pinning, propose
from fedseal_governance.policy.history import policy_history
from fedseal_governance.policy.pinning import FederationStanding, PinnedPolicy
from fedseal_governance.policy.revocation import REVOCATION_TYPE, sign_revocation
from fedseal_governance.policy.tables import PinnedPolicyRow
from fedseal_governance.vocabulary import PolicyLevel

if TYPE_CHECKING:
    from tests.unit.governance.conftest import Federation, Office, Person

FEDERATION = "heart"
OWNER = Owner(level=PolicyLevel.FEDERATION, name=FEDERATION)


@pytest.fixture
def common(policy_bytes: bytes) -> bytes:
    """A policy of the federation."""
    return policy_bytes.replace(b"owner: Cleveland Clinic", b"level: federation\nowner: heart")


@pytest.fixture(scope="module")
def people(federation: "Federation") -> "dict[str, Person]":
    officer = (Role.COMPLIANCE_OFFICER,)
    return {
        "ada": federation.person("ada", roles=officer, organisation="Cleveland Clinic"),
        "ben": federation.person("ben", roles=officer, organisation="Cleveland Clinic"),
        "dora": federation.person("dora", roles=officer, organisation="Hungarian Institute"),
        "nils": federation.person("nils", roles=(Role.NODE_OPERATOR,), organisation="Hungarian Institute"),
        "adam": federation.person("adam", roles=(Role.ADMINISTRATOR,), organisation="Heart Consortium"),
    }


def signed_by(content: bytes, *officers: "Person") -> SignedDocument:
    first, *others = (officer.sign_policy(content) for officer in officers)
    for more in others:
        envelope = replace(first.envelope, signatures=(*first.envelope.signatures, *more.envelope.signatures))
        first = SignedDocument(envelope=envelope, certificates=(*first.certificates, *more.certificates))
    return first


@pytest.fixture
def pin(office: "Office", federation: "Federation") -> Callable[[SignedDocument], PinnedPolicy]:
    def work(signed: SignedDocument) -> PinnedPolicy:
        trust = federation.trust(office.now)
        return office.change(
            lambda act: pinning.pin(act, signed, approved_at=office.now, trust=trust, federation=FEDERATION)
        )

    return work


def standing(office: "Office", federation: "Federation", dataset: str = "heart-disease") -> FederationStanding:
    trust = federation.trust(office.now)
    return office.read(lambda session: pinning.standing(session, dataset, trust=trust, now=office.now))


def end(office: "Office", federation: "Federation", digest: Digest, person: "Person", reason: str = "over") -> None:
    signed = sign_revocation(digest, reason, now=office.now, key=person.key, certificate_pem=person.certificate)
    trust = federation.trust(office.now)
    office.change(lambda act: pinning.end(act, digest, signed, trust=trust))


# -- who sets rules for everybody ---------------------------------------------------------------------------


def suggested(office: "Office", common: bytes, proposer: "Person") -> StoredPolicy:
    return office.change(
        lambda act: propose(act, common, filename="common.yaml", owner=OWNER, proposer=proposer.member)
    )


def test_two_organisations_bring_it_into_force(
    office: "Office", federation: "Federation", common: bytes, people: "dict[str, Person]"
) -> None:
    policy, trust = suggested(office, common, people["adam"]), federation.trust(office.now)

    def sign(name: str) -> StoredPolicy:
        signature = people[name].sign_policy(common)
        return office.change(lambda act: approve(act, policy.digest, signature, trust))

    assert sign("ada").state is PolicyState.PROPOSED
    with pytest.raises(RefusedError, match="an officer of another organisation must sign"):
        sign("ben")
    with pytest.raises(RefusedError, match="no compliance officer; ask one of any organisation"):
        sign("nils")
    assert sign("dora").state is PolicyState.IN_FORCE


@pytest.mark.parametrize(("name", "words"), [("nils", "ask a administrator or compliance officer")])
def test_others_do_not_propose(
    office: "Office", common: bytes, people: "dict[str, Person]", name: str, words: str
) -> None:
    with pytest.raises(RefusedError, match=words):
        suggested(office, common, people[name])


def test_a_nodes_own_people_propose_its_policy(
    office: "Office", policy_bytes: bytes, people: "dict[str, Person]", federation: "Federation"
) -> None:
    owner = Owner(level=PolicyLevel.NODE, name="Cleveland Clinic")
    scientist = federation.person("sid", roles=(Role.DATA_SCIENTIST,))
    for person, words in ((people["nils"], "belongs to Hungarian Institute"), (scientist, "may not propose")):
        with pytest.raises(RefusedError, match=words):
            office.change(
                lambda act, person=person: propose(  # type: ignore[misc]  # bound per loop
                    act, policy_bytes, filename="p.yaml", owner=owner, proposer=person.member
                )
            )
    assert office.journal.types == []


@pytest.mark.parametrize(
    ("level", "old", "new", "words"),
    [
        (PolicyLevel.FEDERATION, b"level: federation\n", b"", "`level` is node; propose it at a node"),
        (PolicyLevel.FEDERATION, b"owner: heart", b"owner: lungs", 'the federation is called "heart"'),
        (PolicyLevel.NODE, b"x", b"x", "`level` is federation; propose it with --federation"),
    ],
)
def test_a_policy_of_the_wrong_desk(
    office: "Office",
    common: bytes,
    people: "dict[str, Person]",
    level: PolicyLevel,
    old: bytes,
    new: bytes,
    words: str,
) -> None:
    owner = Owner(level=level, name=FEDERATION)
    changed = common.replace(old, new)
    with pytest.raises(RefusedError, match=words):
        office.change(lambda act: propose(act, changed, filename="c.yaml", owner=owner, proposer=people["ada"].member))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"compliance_officers: 2", b"compliance_officers: 1", "one organisation alone cannot set the rules"),
        (b"per_job: false", b"per_job: false, federation_policy: true", "is a demand of a node's policy"),
    ],
)
def test_what_a_policy_of_the_federation_cannot_say(common: bytes, old: bytes, new: bytes, words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        load_policy(common.replace(old, new), "common.yaml")


# -- pinned, and believed only as far as it verifies ---------------------------------------------------------


def test_a_pinned_policy_is_in_force_for_its_datasets(
    office: "Office",
    federation: "Federation",
    common: bytes,
    people: "dict[str, Person]",
    pin: Callable[[SignedDocument], PinnedPolicy],
) -> None:
    assert standing(office, federation) == FederationStanding(adopted=False, policies=(), ended=())
    policy = pin(signed_by(common, people["ada"], people["dora"]))
    assert (policy.digest, policy.officers) == (sha256_hex(common), ("person/ada", "person/dora"))
    assert [item.digest for item in standing(office, federation).policies] == [policy.digest]
    assert standing(office, federation).missing == ""
    assert "none of them mentions this dataset" in standing(office, federation, "lungs").missing
    pin(signed_by(common, people["ada"], people["dora"]))
    assert office.journal.types == ["federation.policy.pinned"]
    office.change(lambda act: pinning.bind_job(act.session, "a" * 64, (policy,)))
    assert office.read(lambda session: pinning.bound_to(session, "a" * 64)) == (policy.digest,)


@pytest.mark.parametrize(
    ("officers", "words"),
    [
        (("ada",), "needs officers of 2 organisations and is signed by person/ada"),
        (("ada", "ben"), "needs officers of 2 organisations"),
        (("ada", "nils"), "person/nils is no compliance officer"),
    ],
)
def test_too_few_signatures_are_not_pinned(
    office: "Office",
    common: bytes,
    people: "dict[str, Person]",
    pin: Callable[[SignedDocument], PinnedPolicy],
    officers: tuple[str, ...],
    words: str,
) -> None:
    with pytest.raises(RefusedError, match=words):
        pin(signed_by(common, *(people[name] for name in officers)))
    assert office.read(pinning.pinned_policies) == ()


def test_other_files_are_not_pinned(
    office: "Office",
    federation: "Federation",
    common: bytes,
    policy_bytes: bytes,
    people: "dict[str, Person]",
    pin: Callable[[SignedDocument], PinnedPolicy],
) -> None:
    two = people["ada"], people["dora"]
    with pytest.raises(RefusedError, match=r"compliance officer of Hungarian|not a policy of the federation"):
        pin(signed_by(policy_bytes, *two))
    with pytest.raises(RefusedError, match="not a policy of the federation heart"):
        pin(signed_by(common.replace(b"owner: heart", b"owner: lungs"), *two))
    with pytest.raises(DocumentError):
        pin(signed_by(b"policy: [", *two))
    good = signed_by(common, *two)
    forged = replace(good, envelope=replace(good.envelope, payload=common.replace(b"200", b"201")))
    with pytest.raises(PeerError):
        pin(forged)
    trust = federation.trust(office.now)
    with pytest.raises(RefusedError, match="approved in the future"):
        office.change(
            lambda act: pinning.pin(
                act, good, approved_at=office.now + timedelta(hours=1), trust=trust, federation=FEDERATION
            )
        )
    pin(good)
    with pytest.raises(RefusedError, match="another file than the one pinned here"):
        pin(signed_by(common.replace(b"200", b"201"), *two))


def test_an_officer_revoked_since_does_not_count_for_a_newcomer(
    office: "Office",
    federation: "Federation",
    common: bytes,
    people: "dict[str, Person]",
    pin: Callable[[SignedDocument], PinnedPolicy],
) -> None:
    eve = federation.person("eve", organisation="Basel")
    pin(signed_by(common, people["ada"], eve))
    federation.revoke(eve, office.now + timedelta(hours=1))
    office.now += timedelta(days=1)
    assert standing(office, federation).policies  # pinned before: what was right then stays
    second = common.replace(b"version: 3", b"version: 4")
    trust, approved = federation.trust(office.now), office.now - timedelta(days=1)
    with pytest.raises(RefusedError, match=r"person/eve, who signed the federation policy .* has been revoked"):
        office.change(
            lambda act: pinning.pin(
                act, signed_by(second, people["ada"], eve), approved_at=approved, trust=trust, federation=FEDERATION
            )
        )


# -- versions, ends ------------------------------------------------------------------------------------------


def test_an_older_version_never_returns(
    office: "Office",
    federation: "Federation",
    common: bytes,
    people: "dict[str, Person]",
    pin: Callable[[SignedDocument], PinnedPolicy],
) -> None:
    two = people["ada"], people["dora"]
    newer = pin(signed_by(common.replace(b"version: 3", b"version: 4"), *two))
    pin(signed_by(common, *two))
    assert [item.digest for item in standing(office, federation).policies] == [newer.digest]
    end(office, federation, newer.digest, people["ben"], "a mistake")
    found = standing(office, federation)
    assert found.policies == ()
    assert "federation policy heart-risk-research, version 4 was revoked (a mistake)" in found.missing
    end(office, federation, newer.digest, people["ada"], "again")
    assert office.journal.types.count("federation.policy.ended") == 1


def test_a_version_counts_from_its_first_day_and_not_at_all_if_revoked_before(
    office: "Office",
    federation: "Federation",
    common: bytes,
    people: "dict[str, Person]",
    pin: Callable[[SignedDocument], PinnedPolicy],
) -> None:
    two = people["ada"], people["dora"]
    usual = pin(signed_by(common, *two))
    later = common.replace(b"2026-01-01", b"2026-06-01")
    fourth = pin(signed_by(later.replace(b"version: 3", b"version: 4"), *two))
    fifth = pin(signed_by(later.replace(b"version: 3", b"version: 5"), *two))
    end(office, federation, fifth.digest, people["ada"])
    assert [item.digest for item in standing(office, federation).policies] == [usual.digest]
    office.now += timedelta(days=60)
    assert [item.digest for item in standing(office, federation).policies] == [fourth.digest]
    office.now += timedelta(days=700)
    assert "has expired; its last day was 2027-12-31" in standing(office, federation).missing


def test_only_an_officers_own_words_end_a_policy(
    office: "Office",
    federation: "Federation",
    common: bytes,
    people: "dict[str, Person]",
    pin: Callable[[SignedDocument], PinnedPolicy],
) -> None:
    policy = pin(signed_by(common, people["ada"], people["dora"]))
    with pytest.raises(RefusedError, match="no compliance officer"):
        end(office, federation, policy.digest, people["nils"])
    with pytest.raises(NotFound):
        end(office, federation, Digest("b" * 64), people["ada"])
    ada, trust = people["ada"], federation.trust(office.now)
    other = sign_revocation(Digest("b" * 64), "over", now=office.now, key=ada.key, certificate_pem=ada.certificate)
    odd = sign_document(REVOCATION_TYPE, b'{"policy": 3}', key=ada.key, certificate_pem=ada.certificate)
    for signed, error in ((other, RefusedError), (odd, RefusedError), (ada.sign_policy(common), Exception)):
        with pytest.raises(error):
            office.change(lambda act, signed=signed: pinning.end(act, policy.digest, signed, trust=trust))  # type: ignore[misc]  # bound per loop
    assert standing(office, federation).policies
    with pytest.raises(RefusedError, match="one line"):
        sign_revocation(policy.digest, "a\nb", now=office.now, key=ada.key, certificate_pem=ada.certificate)


def test_an_edited_row_is_found(
    office: "Office",
    federation: "Federation",
    common: bytes,
    people: "dict[str, Person]",
    pin: Callable[[SignedDocument], PinnedPolicy],
) -> None:
    pin(signed_by(common, people["ada"], people["dora"]))
    alone = people["ada"].sign_policy(common).to_json()
    office.change(lambda act: act.session.execute(update(PinnedPolicyRow).values(signed=alone)))
    with pytest.raises(TamperError, match="too few signatures"):
        standing(office, federation)
    other = signed_by(common.replace(b"200", b"999"), people["ada"], people["dora"]).to_json()
    office.change(lambda act: act.session.execute(update(PinnedPolicyRow).values(signed=other)))
    with pytest.raises(TamperError, match=r"pinned text .* was changed"):
        standing(office, federation)


def test_the_history_of_a_policy_comes_from_the_log(
    office: "Office", federation: "Federation", common: bytes, people: "dict[str, Person]"
) -> None:
    from fedseal_governance.acts import Act
    from fedseal_governance.audit import AuditLog

    log, trust = AuditLog("fedseal/heart/coordinator"), federation.trust(office.now)

    def work(act: Act) -> None:
        real = Act(session=act.session, journal=log, actor="person/adam", now=act.now)
        proposed = propose(real, common, filename="c.yaml", owner=OWNER, proposer=people["adam"].member)
        for name in ("ada", "dora"):
            approve(real, proposed.digest, people[name].sign_policy(common), trust)

    office.change(work)
    steps = office.read(lambda session: policy_history(log.entries(session), name="heart-risk-research"))
    assert [(step.what, step.who, step.version) for step in steps] == [
        ("proposed", "person/adam", 3),
        ("signed", "person/ada", 3),
        ("signed", "person/dora", 3),
        ("approved", "person/adam", 3),
        ("came into force", "person/adam", 3),
    ]
    assert office.read(lambda session: policy_history(log.entries(session), name="other")) == ()
