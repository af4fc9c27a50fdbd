"""What a protection lets each party see, beside what the method says: part of the job's disclosure statement."""

from fedseal_governance.vocabulary import Protection

_SENTENCES = {
    Protection.HOMOMORPHIC: (
        "Each node hides its contribution under a pad, encrypts it under the custodian's key and gives the pad to the "
        "coordinator. The coordinator has no decryption key; the custodian opens one sum of a round and sees it "
        "under the sum of the pads. Neither sees a contribution alone, nor with other nodes. Coordinator and "
        "custodian together could see every single contribution."
    ),
    Protection.HYBRID: (
        "Each node masks its contribution and encrypts it under the custodian's key. The custodian opens one sum of "
        "a round and sees it under the sum of the masks. Coordinator and custodian together see what the coordinator "
        "sees under masks alone: sums over the cohort."
    ),
}

_QUANTITIES = {
    Protection.HOMOMORPHIC: (
        ("ciphertext", "coordinator", "each node's encrypted, padded contribution, with the pad; no key to open it"),
        ("padded_sum", "custodian", "one sum of each round under the sum of the pads: uniform words"),
        ("ciphertext", "custodian", "each node's encrypted, padded contribution: uniform words if it were opened"),
    ),
    Protection.HYBRID: (
        ("ciphertext", "coordinator", "each node's encrypted, masked contribution; no key to open it"),
        ("masked_sum", "custodian", "one sum of each round under the masks: uniform words"),
        ("ciphertext", "custodian", "each node's encrypted, masked contribution: uniform words if it were opened"),
    ),
}


def protection_sentence(protection: Protection) -> str:
    """Who sees what because of the protection, in plain English; empty where the method's own words say it."""
    return _SENTENCES.get(protection, "")


def protection_quantities(protection: Protection) -> tuple[tuple[str, str, str], ...]:
    """Name, party and description of everything that a party sees because of the protection."""
    return _QUANTITIES.get(protection, ())
