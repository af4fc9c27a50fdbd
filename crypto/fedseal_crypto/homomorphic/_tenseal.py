"""The only module that calls TenSEAL: keys, encryption and decryption of single ciphertexts, as residues.

TenSEAL speaks to Python in its own protobuf messages around SEAL's streams. This module reads what the library
itself has just written, and writes what the library reads. Nothing that a peer sent is ever handed on as such:
a stream is put together here from coefficients that were checked (`_frames`), behind the header that the library
wrote for a ciphertext of its own, so level, size, scale, representation and lengths are ours.

Streams (SEAL 4): header 16 bytes (magic, version, compression, length); for a ciphertext 73 bytes of facts,
24 bytes of array header, then coefficients as 64-bit little-endian words. Randomness is SEAL's: an extendable hash
generator seeded from the operating system.

TenSEAL holds the interpreter's lock throughout a call: threads do not help, processes do.
"""

import struct
from functools import lru_cache
from typing import Any, final

import numpy as np
import tenseal as ts
import zstandard
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from fedseal_crypto.homomorphic._errors import LibraryFault
from fedseal_crypto.homomorphic._parameters import Parameters, Scheme
from fedseal_crypto.homomorphic._residues import Residues

_STREAM = struct.Struct("<HBBBBHQ")
_MAGIC = 0xA15E
_NO_COMPRESSION, _ZSTD = 0, 2
_FACTS = struct.Struct("<32sBQQQdQ")  # level, transformed, polynomials, N, primes, scale, correction
_ARRAY_HEADER = 24
_PREFIX = _FACTS.size + _ARRAY_HEADER
_MOST = 1 << 26  # bytes of one uncompressed stream: Galois keys are the largest, under 40 MB
_Field = descriptor_pb2.FieldDescriptorProto


def _messages() -> dict[str, type[Message]]:
    """TenSEAL's messages, by the field numbers of its tensealcontext.proto and tensors.proto."""
    octets, number, flag, real = _Field.TYPE_BYTES, _Field.TYPE_UINT32, _Field.TYPE_BOOL, _Field.TYPE_DOUBLE
    fields: dict[str, list[tuple[str, int, Any]]] = {
        "Public": [("key", 1, octets), ("flags", 2, number), ("scale", 3, real), ("relin", 4, octets),
                   ("galois", 5, octets)],
        "Private": [("key", 1, octets), ("has_relin", 2, flag), ("has_galois", 3, flag)],
        "Context": [("parameters", 1, octets), ("public", 2, "Public"), ("private", 3, "Private"),
                    ("kind", 4, number)],
        "Vector": [("sizes", 1, number), ("ciphertexts", 2, octets), ("scale", 3, real)],
    }  # fmt: skip
    file = descriptor_pb2.FileDescriptorProto(name="fedseal_tenseal.proto", package="fedseal_tenseal", syntax="proto3")
    for name, members in fields.items():
        message = file.message_type.add(name=name)
        for field, place, kind in members:
            repeated = name == "Vector" and field != "scale"
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            made = message.field.add(name=field, number=place, label=label)
            if isinstance(kind, str):
                made.type, made.type_name = _Field.TYPE_MESSAGE, f".fedseal_tenseal.{kind}"
            else:
                made.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"fedseal_tenseal.{name}")) for name in fields
    }


_CLASSES = _messages()


def _message(name: str, data: bytes = b"") -> Any:  # the classes are made above, so no type says their fields
    made = _CLASSES[name]()
    made.ParseFromString(data)
    return made


def holds_secret_key(data: bytes) -> bool:
    """Whether `data` is a context as TenSEAL writes it, with a secret key in it."""
    try:
        context = _message("Context", data)
    except DecodeError:
        return False
    return bool(context.private.key)


@final
class Library:
    """A TenSEAL context of one parameter set, with or without the secret key.

    Make one with `generate`, `with_public_key` or `with_secret_key`.
    """

    __slots__ = ("_facts", "_head", "context", "parameters")

    def __init__(self, parameters: Parameters, context: Any) -> None:
        self.parameters = parameters
        self.context = context
        self._head, self._facts = b"", b""

    @classmethod
    def generate(cls, parameters: Parameters) -> "Library":
        """Fresh keys from the operating system's randomness."""
        bits = [prime.bit_length() for prime in parameters.primes]
        if parameters.scheme is Scheme.BFV:
            context = ts.context(ts.SCHEME_TYPE.BFV, parameters.degree, parameters.plain_modulus, bits, n_threads=1)
        else:
            context = ts.context(ts.SCHEME_TYPE.CKKS, parameters.degree, coeff_mod_bit_sizes=bits, n_threads=1)
        made = cls._settled(parameters, context)
        made.check_primes()
        if parameters.evaluation_keys:
            context.generate_galois_keys()
        return made

    @classmethod
    def with_public_key(
        cls, parameters: Parameters, key: Residues, *, relin: bytes = b"", galois: bytes = b""
    ) -> "Library":
        """A context that can encrypt, and multiply and rotate if it is given those keys.

        Args:
            parameters: The set.
            key: Residues of shape (2, primes, N), each below its prime.
            relin: SEAL's stream of relinearisation keys.
            galois: SEAL's stream of Galois keys.

        Raises:
            ValueError, RuntimeError: The library refuses a key.
        """
        template = _template(parameters)
        context = _message("Context")
        context.CopyFrom(template)
        head, facts = _split(template.public.key)
        context.public.key = _join(head, facts, key)
        context.public.relin, context.public.galois = relin, galois
        return cls._loaded(parameters, context)

    @classmethod
    def with_secret_key(cls, parameters: Parameters, serialised: bytes) -> "Library":
        """The context that `secret_bytes` wrote.

        Raises:
            ValueError, RuntimeError, DecodeError: These are not such bytes.
        """
        context = _message("Context", serialised)
        if context.parameters != _template(parameters).parameters or not context.private.key:
            raise ValueError("not a secret context of these parameters")
        return cls._loaded(parameters, context)

    @classmethod
    def _loaded(cls, parameters: Parameters, context: Any) -> "Library":
        return cls._settled(parameters, ts.context_from(context.SerializeToString(), n_threads=1))

    @classmethod
    def _settled(cls, parameters: Parameters, context: Any) -> "Library":
        if parameters.scheme is Scheme.CKKS:
            context.global_scale = 2.0**parameters.scale_bits
            context.auto_rescale = context.auto_mod_switch = False
        return cls(parameters, context)

    @property
    def is_private(self) -> bool:
        """Whether it holds a secret key."""
        return bool(self.context.is_private())

    def secret_bytes(self) -> bytes:
        """The context with its secret key; evaluation keys are left out."""
        return bytes(self.context.serialize(save_secret_key=True, save_galois_keys=False, save_relin_keys=False))

    def secret_appears_in(self, data: bytes) -> bool:
        """Whether the secret key's stream, compressed as the library writes it or plain, is part of `data`."""
        stream = _message("Context", self.secret_bytes()).private.key
        middle = len(stream) // 2
        plain = _plain(stream)
        return stream[middle : middle + 64] in data or plain[len(plain) // 2 :][:64] in data

    def public_key(self) -> Residues:
        """The public key's residues, shape (2, primes, N)."""
        context = _message("Context", self.public_bytes(evaluation=False))
        _, _, residues = _residues_of(context.public.key, len(self.parameters.primes), self.parameters.degree)
        return residues

    def evaluation_keys(self) -> tuple[bytes, bytes]:
        """SEAL's streams of the relinearisation and the Galois keys."""
        context = _message("Context", self.public_bytes(evaluation=True))
        return context.public.relin, context.public.galois

    def public_bytes(self, *, evaluation: bool) -> bytes:
        """The context without its secret key, as the library writes it."""
        return bytes(
            self.context.serialize(save_secret_key=False, save_galois_keys=evaluation, save_relin_keys=evaluation)
        )

    def check_primes(self) -> None:
        """The library chooses the primes by their size; they must be those of the table, in its order.

        Raises:
            LibraryFault: They are others.
        """
        context = _message("Context", self.public_bytes(evaluation=False))
        plain = _plain(context.parameters)
        wanted = [*self.parameters.primes, *([self.parameters.plain_modulus] if self.parameters.plain_modulus else [])]
        places = [plain.find(prime.to_bytes(8, "little")) for prime in wanted]
        if -1 in places or places != sorted(places):
            raise LibraryFault("the encryption library chose other primes than the parameter table names.")

    def encrypt(self, values: NDArray[Any]) -> Residues:
        """One fresh ciphertext of one chunk of int64 (BFV) or float64 (CKKS), shape (2, data primes, N)."""
        return self.residues(self._vector(values))

    def _vector(self, values: NDArray[Any]) -> Any:
        # The class behind `ts.bfv_vector`: that one copies a list to a tensor and back first, a fifth of the time.
        if self.parameters.scheme is Scheme.BFV:
            return ts._ts_cpp.BFVVector(self.context.data, values.tolist())  # noqa: SLF001  # see above
        scale = 2.0**self.parameters.scale_bits
        return ts._ts_cpp.CKKSVector(self.context.data, values.tolist(), scale)  # noqa: SLF001  # see above

    def residues(self, vector: Any) -> Residues:
        """The residues of one of the library's own vectors of one ciphertext."""
        parameters = self.parameters
        stream = _message("Vector", vector.serialize()).ciphertexts[0]
        _, facts, residues = _residues_of(stream, len(parameters.data_primes), parameters.degree)
        scale = _FACTS.unpack_from(facts)[5]
        if parameters.scheme is Scheme.CKKS and scale not in {2.0**parameters.scale_bits, 4.0**parameters.scale_bits}:
            raise LibraryFault("the encryption library changed the scale of a ciphertext.")
        return residues

    def vector(self, residues: Residues, *, product: bool = False) -> Any:
        """The library's own vector of one ciphertext with these coefficients.

        Args:
            residues: Shape (2, data primes, N), each below its prime.
            product: Whether it is a product (CKKS), with the square of the scale.
        """
        scale = (4.0 if product else 2.0) ** self.parameters.scale_bits
        head, facts = self._own_prefix()
        if product:
            parts = list(_FACTS.unpack_from(facts))
            parts[5] = scale
            facts = _FACTS.pack(*parts) + facts[_FACTS.size :]
        message = _message("Vector")
        message.sizes.append(self.parameters.slots)
        message.ciphertexts.append(_join(head, facts, residues))
        if self.parameters.scheme is Scheme.CKKS:
            message.scale = scale
        load = ts.bfv_vector_from if self.parameters.scheme is Scheme.BFV else ts.ckks_vector_from
        return load(self.context, message.SerializeToString())

    def decrypt(self, residues: Residues, *, product: bool = False) -> NDArray[Any]:
        """All slots of one ciphertext: int64 centred modulo t, or float64."""
        vector = self.vector(residues, product=product)
        return np.array(vector.decrypt(), self._dtype)

    def decrypt_flooded(
        self, residues: Residues, noise: NDArray[np.float64], *, product: bool = False
    ) -> NDArray[np.float64]:
        """All slots of one CKKS ciphertext, with `noise` added under the encryption before it is opened."""
        vector = self.vector(residues, product=product).data
        vector.add_plain_(noise.tolist())
        return np.array(vector.decrypt(), np.float64)

    @property
    def _dtype(self) -> type[np.int64] | type[np.float64]:
        return np.int64 if self.parameters.scheme is Scheme.BFV else np.float64

    def _own_prefix(self) -> tuple[bytes, bytes]:
        """Header and facts of a ciphertext that this context made."""
        if not self._facts:
            vector = self._vector(np.ones(self.parameters.slots, self._dtype))
            self._head, self._facts = _split(_message("Vector", vector.serialize()).ciphertexts[0])
        return self._head, self._facts


@lru_cache(maxsize=8)
def _template(parameters: Parameters) -> Any:
    """A public context of the set, with a key of no importance in it."""
    library = Library.generate(parameters)
    context = _message("Context", library.public_bytes(evaluation=False))
    context.public.flags = 0 if parameters.scheme is Scheme.BFV else context.public.flags
    return context


def _plain(stream: bytes) -> bytes:
    """What follows the header of a stream that the library wrote, uncompressed."""
    magic, _, _, _, mode, _, size = _STREAM.unpack_from(stream)
    if magic != _MAGIC or size != len(stream) or mode not in {_NO_COMPRESSION, _ZSTD}:
        raise LibraryFault("the encryption library wrote a stream of an unknown form.")
    body = stream[_STREAM.size :]
    return zstandard.ZstdDecompressor().decompress(body, max_output_size=_MOST) if mode == _ZSTD else body


def _split(stream: bytes) -> tuple[bytes, bytes]:
    """The header of a ciphertext's stream, and its facts with the array header."""
    return stream[: _STREAM.size], _plain(stream)[:_PREFIX]


def _join(head: bytes, facts: bytes, residues: Residues) -> bytes:
    """A ciphertext's stream with these coefficients, uncompressed."""
    magic, size, major, minor, _, reserved, _ = _STREAM.unpack(head)
    length = _STREAM.size + len(facts) + residues.nbytes
    return _STREAM.pack(magic, size, major, minor, _NO_COMPRESSION, reserved, length) + facts + residues.tobytes()


def _residues_of(stream: bytes, primes: int, degree: int) -> tuple[bytes, bytes, Residues]:
    """Header, facts and coefficients of a stream that the library wrote.

    Raises:
        LibraryFault: It is not a ciphertext of two polynomials at the level expected.
    """
    plain = _plain(stream)
    _, _, polynomials, n, levels, _, _ = _FACTS.unpack_from(plain)
    words = 2 * primes * degree
    if (polynomials, n, levels, len(plain)) != (2, degree, primes, _PREFIX + 8 * words):
        raise LibraryFault("the encryption library wrote a ciphertext of another size or level than asked for.")
    residues = np.frombuffer(plain[_PREFIX:], "<u8")
    return stream[: _STREAM.size], plain[:_PREFIX], residues.reshape(2, primes, degree)
