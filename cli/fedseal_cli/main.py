"""The console script's entry point.

It imports nothing but the standard library until it runs, so that Ctrl-C is answered with one line even while
the commands are being imported.
"""

import os
import sys


def main() -> None:
    """Run the command line and leave with one of the codes of ``fedseal_cli.exit_codes``."""
    try:
        # gRPC's core writes to stderr by itself, where people expect one sentence; we report its errors ourselves.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from fedseal_cli.app import build_command

        build_command()(prog_name="fedseal")
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
