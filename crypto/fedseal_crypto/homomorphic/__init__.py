"""Sums under homomorphic encryption: nodes encrypt, the coordinator adds without a key, a custodian decrypts the sum.

Exact sums are the default: integers of the same encoding as masking, several to a plaintext slot, under BFV. CKKS
is there where real arithmetic under encryption is wanted: real sums, and inner products and norms of updates that
nobody sees. Start reading with `encrypt_vector`, `Adder` and `SecretContext.decrypt_sum`.

It hides a contribution from everyone without the secret key. It does not hide it from whoever has the key and the
contribution's ciphertext: that is what masks inside (`plan_slots(..., masked=True)`) are for. BFV and CKKS are not
secure against chosen ciphertexts, so whoever decrypts must first know that it decrypts a sum; that is the
custodian's part, not this package's.
"""

from fedseal_crypto.homomorphic._contexts import PublicContext, SecretContext, find_secret_key, generate_keys
from fedseal_crypto.homomorphic._custody import (
    OpenedShare,
    SealedFacts,
    SplitKey,
    open_share,
    reassemble_key,
    seal_key,
    sealed_facts,
    split_key,
    unseal_key,
)
from fedseal_crypto.homomorphic._errors import (
    CiphertextRefused,
    CiphertextTruncated,
    CoefficientRefused,
    CohortUnsupported,
    ContextRefused,
    DecryptionInconsistent,
    KeyDestroyed,
    LibraryFault,
    NotACiphertext,
    OtherKey,
    OtherLayout,
    OtherParameters,
    ParametersUnknown,
    SealRefused,
    SecretKeyPresent,
    ShareRefused,
    SharesInsufficient,
    SumTooLarge,
    WordsOutOfRange,
    WrongAddends,
    WrongLock,
    WrongSize,
)
from fedseal_crypto.homomorphic._flooding import Flooding
from fedseal_crypto.homomorphic._frames import HEADER_BYTES, BundleHeader, Kind, bundle_header
from fedseal_crypto.homomorphic._locks import KeyFile, Lock, Passphrase, new_key_file
from fedseal_crypto.homomorphic._parameters import (
    PARAMETERS,
    Parameters,
    Scheme,
    parameters_for_sums,
    parameters_named,
)
from fedseal_crypto.homomorphic._reals import RealAdder, RealPlan, check_reals, decrypt_real_sum, encrypt_reals
from fedseal_crypto.homomorphic._scalars import (
    EvaluationContext,
    Operation,
    decrypt_scalar,
    operand_digest,
    scalar_bytes,
    scalar_content,
    scalar_content_of,
    scalar_error_bound,
)
from fedseal_crypto.homomorphic._slots import SlotPlan, lift_masks, plan_slots
from fedseal_crypto.homomorphic._sums import Adder, check_bundle, encrypt_vector

__all__ = [
    "HEADER_BYTES",
    "PARAMETERS",
    "Adder",
    "BundleHeader",
    "CiphertextRefused",
    "CiphertextTruncated",
    "CoefficientRefused",
    "CohortUnsupported",
    "ContextRefused",
    "DecryptionInconsistent",
    "EvaluationContext",
    "Flooding",
    "KeyDestroyed",
    "KeyFile",
    "Kind",
    "LibraryFault",
    "Lock",
    "NotACiphertext",
    "OpenedShare",
    "Operation",
    "OtherKey",
    "OtherLayout",
    "OtherParameters",
    "Parameters",
    "ParametersUnknown",
    "Passphrase",
    "PublicContext",
    "RealAdder",
    "RealPlan",
    "Scheme",
    "SealRefused",
    "SealedFacts",
    "SecretContext",
    "SecretKeyPresent",
    "ShareRefused",
    "SharesInsufficient",
    "SlotPlan",
    "SplitKey",
    "SumTooLarge",
    "WordsOutOfRange",
    "WrongAddends",
    "WrongLock",
    "WrongSize",
    "bundle_header",
    "check_bundle",
    "check_reals",
    "decrypt_real_sum",
    "decrypt_scalar",
    "encrypt_reals",
    "encrypt_vector",
    "find_secret_key",
    "generate_keys",
    "lift_masks",
    "new_key_file",
    "open_share",
    "operand_digest",
    "parameters_for_sums",
    "parameters_named",
    "plan_slots",
    "reassemble_key",
    "scalar_bytes",
    "scalar_content",
    "scalar_content_of",
    "scalar_error_bound",
    "seal_key",
    "sealed_facts",
    "split_key",
    "unseal_key",
]
