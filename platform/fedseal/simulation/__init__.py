"""Experiments with virtual nodes: the method and protocol code of a real federation, without one."""

from fedseal.simulation.engine import Simulation, simulate
from fedseal.simulation.experiment import Experiment, load_experiment

__all__ = ["Experiment", "Simulation", "load_experiment", "simulate"]
