"""Errors of simulations."""

from fedseal.errors import SetupError


class ExperimentUnsuitable(SetupError):
    """The experiment asks for something that its data, method or this machine cannot give."""
