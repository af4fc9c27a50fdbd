import copy
import pickle

import pytest

from fedseal_crypto.errors import MisuseError
from fedseal_crypto.secret import SecretBytes

SECRET = SecretBytes(b"correct horse battery staple")


@pytest.mark.parametrize("shown", [repr(SECRET), str(SECRET), f"{SECRET}", f"{SECRET:>40}", repr([SECRET])])
def test_every_way_of_printing_is_redacted(shown: str) -> None:
    assert "horse" not in shown
    assert "<redacted>" in shown


def test_reveals_only_on_request() -> None:
    assert SECRET.reveal() == b"correct horse battery staple"
    assert len(SECRET) == 28


def test_equality_compares_the_bytes() -> None:
    assert SecretBytes(b"a") == SecretBytes(b"a")
    assert SecretBytes(b"a") != SecretBytes(b"b")
    assert SecretBytes(b"a") != b"a"


def test_it_is_neither_hashable_nor_copied() -> None:
    with pytest.raises(TypeError):
        hash(SECRET)
    with pytest.raises(MisuseError):
        pickle.dumps(SECRET)
    with pytest.raises(MisuseError):
        copy.copy(SECRET)


def test_text_is_refused_without_repeating_it() -> None:
    with pytest.raises(MisuseError) as caught:
        SecretBytes("swordfish")  # type: ignore[arg-type]  # the mistake that is tested
    assert "swordfish" not in str(caught.value)
