"""What the exit code of every command means.

    code  meaning                                       what to do
    0     done
    1     verification failed: a signature, certificate,  do not trust what was checked
          proof, log or message does not hold
    2     usage or bad input: an option, file, folder,    correct what the sentence names
          passphrase or configuration
    3     refused by a policy, a role or a state          ask whoever sets the rule
    4     another party cannot be reached                 check address and network, try again
    5     storage: database, disk, permission, port       repair the machine, try again
    6     a job that was followed ended without finishing    see `fedseal job show`
    70    a defect in fedseal itself                      report it, with the output of --debug
    130   stopped with Ctrl-C, or by answering no

The codes are part of the interface: scripts depend on them, so a number never changes its meaning.
Classes are looked up by their full names so that asking for a code imports nothing.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """See the table at the top of the module."""

    DONE = 0
    VERIFICATION_FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    UNREACHABLE = 4
    STORAGE = 5
    JOB_NOT_FINISHED = 6
    DEFECT = 70
    INTERRUPTED = 130


_CODES = {
    # Ours, from the most special to the roots; the nearest class in the method resolution order counts.
    "fedseal_crypto.errors.CryptoError": ExitCode.VERIFICATION_FAILED,
    "fedseal_crypto.errors.MisuseError": ExitCode.BAD_INPUT,
    "fedseal_crypto.errors.EnvironmentFault": ExitCode.STORAGE,
    "fedseal_crypto._keyfiles.KeyUnreadable": ExitCode.BAD_INPUT,
    "fedseal_crypto.identity.NameInvalid": ExitCode.BAD_INPUT,
    "fedseal_governance.errors.GovernanceError": ExitCode.REFUSED,
    "fedseal_governance.errors.DocumentError": ExitCode.BAD_INPUT,
    "fedseal_governance.errors.RefusedError": ExitCode.REFUSED,
    "fedseal_governance.errors.TamperError": ExitCode.VERIFICATION_FAILED,
    "fedseal_governance.errors.StorageError": ExitCode.STORAGE,
    "fedseal.errors.PlatformError": ExitCode.BAD_INPUT,
    "fedseal.errors.SetupError": ExitCode.BAD_INPUT,
    "fedseal.errors.PortUnavailable": ExitCode.STORAGE,
    "fedseal.errors.PeerFault": ExitCode.VERIFICATION_FAILED,
    "fedseal.errors.RefusalError": ExitCode.REFUSED,
    "fedseal.errors.RemoteError": ExitCode.UNREACHABLE,
    "fedseal.wire.status.CallRefused": ExitCode.REFUSED,
    "fedseal.wire.status.Unreachable": ExitCode.UNREACHABLE,
    "fedseal_cli.job_output.JobNotFinished": ExitCode.JOB_NOT_FINISHED,
    "builtins.OSError": ExitCode.STORAGE,
    "builtins.KeyboardInterrupt": ExitCode.INTERRUPTED,
}


def exit_code_of(error: BaseException) -> ExitCode:
    """The code for an error; ``DEFECT`` for one that no table row covers."""
    for kind in type(error).__mro__:
        code = _CODES.get(f"{kind.__module__}.{kind.__qualname__}")
        if code is not None:
            return code
    return ExitCode.DEFECT
