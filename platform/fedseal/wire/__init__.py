"""gRPC messages, TLS credentials, chunked streams and the table that maps errors to status codes.

TLS 1.3 only. Python's gRPC offers no minimum-version setting; its TLS 1.2 suites, however, are chosen by
an environment variable that the library reads once, when it is first imported. Every certificate of a
federation carries an ECDSA key, so a list that holds only RSA suites leaves TLS 1.2 without a single
usable suite while TLS 1.3, whose suites do not name the key type, is unaffected. A test connects with
TLS 1.2 and must fail.
"""

import os
import sys

_RSA_ONLY = "ECDHE-RSA-AES256-GCM-SHA384"

if "grpc" in sys.modules and os.environ.get("GRPC_SSL_CIPHER_SUITES") != _RSA_ONLY:
    message = "import fedseal.wire before grpc: otherwise TLS 1.2 would stay open"
    raise ImportError(message)
os.environ["GRPC_SSL_CIPHER_SUITES"] = _RSA_ONLY
# gRPC's core writes each failed handshake to stderr in a form of its own; what matters is logged by us.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
