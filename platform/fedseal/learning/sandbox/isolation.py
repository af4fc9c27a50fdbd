"""Takes network, capabilities and unlimited resources away from the calling process, for good. Linux, without root.

What is possible without privileges, through the C library:
- ``unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS)``: a network with no interface, not even loopback up; mounts of
  its own, all read-only, in which folders are covered by empty ones and only a small scratch folder can be written.
- ``prctl(PR_SET_NO_NEW_PRIVS)`` and an empty ``capset``: what was covered stays covered.
- ``setrlimit``: address space, processor time, size of files, no core dump.

What it does not do: hide every file of the machine that this user can read, or filter system calls. It must run before
the process has a second thread, so nothing is imported here that starts one.
"""

import ctypes
import os
import resource
from collections.abc import Iterable
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 0x1
SCRATCH_BYTES = 64 << 20
MS_RDONLY, MS_REC, MS_PRIVATE = 0x1, 0x4000, 0x40000
PR_SET_NO_NEW_PRIVS = 38
CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3


class IsolationUnavailable(Exception):
    """This system does not allow it; the text says which step."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("process", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("namespace", ctypes.c_uint64),
    )


def isolate(hidden: Iterable[str], scratch: str) -> None:
    """Leave the network and cover the folders ``hidden`` for the rest of this process's life.

    Args:
        hidden: Folders that look empty afterwards.
        scratch: An existing folder, the only one that can be written, in memory; the process moves there.

    Raises:
        IsolationUnavailable: A step failed; the process must not run foreign code then.
    """
    try:
        library = ctypes.CDLL(None, use_errno=True)
        user, group = os.getuid(), os.getgid()
        _step("unshare", library.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS))
        # without a mapping nobody could own a file in the scratch folder
        for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", name).write_text(line, encoding="ascii")
        _step("mount", library.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
        for folder in hidden:
            _step("mount", library.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", MS_RDONLY, b"size=4k"))
        read_only = _Attributes(MOUNT_ATTR_RDONLY, 0, 0, 0)
        size = ctypes.sizeof(read_only)
        setattr_ = (SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(read_only), size)
        _step("mount_setattr", library.syscall(*setattr_))
        _step("mount", library.mount(b"tmpfs", os.fsencode(scratch), b"tmpfs", 0, f"size={SCRATCH_BYTES}".encode()))
        os.chdir(scratch)
        _step("no_new_privs", library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        header, sets = _Header(CAPABILITY_VERSION, 0), (_Sets * 2)()
        _step("capset", library.capset(ctypes.byref(header), sets))
    except (OSError, AttributeError) as error:
        raise IsolationUnavailable(str(error)) from None


def limit(*, memory_bytes: int, seconds: float) -> None:
    """Bound what this process may use; it cannot raise the bounds again."""
    whole = max(1, int(seconds))
    bounds = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: whole,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: SCRATCH_BYTES,
    }
    for kind, most in bounds.items():
        resource.setrlimit(kind, (most, most))


def _step(name: str, result: int) -> None:
    if result:
        raise IsolationUnavailable(f"{name}: {os.strerror(ctypes.get_errno())}")
