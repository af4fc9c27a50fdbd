"""Errors of the platform layer, split by who is to blame.

PlatformError
├── SetupError           configuration, keys or files on this machine are not usable
│   ├── PortUnavailable  the address to listen on is taken or is not this machine's
│   └── ClockBehind      this machine's clock shows a time that is certainly past
├── PeerFault            another party sent something that fails a check
├── RefusalError         this party's own rules forbid what was asked
└── RemoteError          another party refused or could not be reached
"""


class PlatformError(Exception):
    """Root of every error raised by ``fedseal``."""


class SetupError(PlatformError):
    """Configuration, keys, ports or files on this machine are not usable."""


class PortUnavailable(SetupError):
    """Another program listens on the address, or it is not this machine's."""


class ClockBehind(SetupError):
    """This machine's clock shows a time before something that the authority has signed already."""


class PeerFault(PlatformError):
    """Another party sent something that fails a check."""


class RefusalError(PlatformError):
    """This party's own rules forbid what was asked."""


class RemoteError(PlatformError):
    """Another party refused the request or could not be reached."""
