"""One switch for repeatable training; torch is imported when it is thrown, not before.

The rest of ``fedseal.learning`` loads without torch, so that commands which only read data or documents start fast.
"""


def use_deterministic_torch() -> None:
    """Make torch single-threaded and deterministic; a process calls it once, before any training."""
    import torch

    torch.set_num_threads(1)
    # The same switch as `use_deterministic_algorithms`, which imports torch's compiler first: 2.4 seconds a start.
    torch.set_deterministic_debug_mode("error")
