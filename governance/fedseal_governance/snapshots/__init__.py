"""Which records entered which contribution, kept so that the question can be answered after a withdrawal.

A record is known here by its leaf only, a digest under the node's own key; pseudonyms are not kept.
"""

from fedseal_governance.snapshots.store import contains, keep, leaves_in

__all__ = ["contains", "keep", "leaves_in"]
