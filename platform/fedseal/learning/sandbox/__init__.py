"""Runs a data scientist's Python file in a process of its own, without network and within limits."""

from fedseal.learning.sandbox.files import LearnerFiles, Limits, learner_files, use_learner_files
from fedseal.learning.sandbox.parent import Sandbox

__all__ = ["LearnerFiles", "Limits", "Sandbox", "learner_files", "use_learner_files"]
