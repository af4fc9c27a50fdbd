"""The ``fedseal`` command: one module a noun, each a thin shell around the platform and governance layers."""
