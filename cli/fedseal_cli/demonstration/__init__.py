"""The demonstration: four hospitals train one model, with real processes, TLS, databases and people.

Nothing here is a second implementation: every step calls what the commands call, and the parties run as
operating-system processes started with the same commands that the guides show.
"""

from fedseal_cli.demonstration.story import Demonstration
from fedseal_cli.demonstration.summary import Summary

__all__ = ["Demonstration", "Summary"]
