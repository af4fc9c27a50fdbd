"""The consents that the tests of this folder record."""

from fedseal_crypto.secret import SecretBytes
from fedseal_governance.consent import RecordKey, Register

RECORD_KEY = RecordKey(SecretBytes(bytes(range(32))))
HEART = Register(dataset="heart", key=RECORD_KEY)
