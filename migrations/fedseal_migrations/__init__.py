"""Schema migrations: ``upgrade(engine)`` and ``require_current(engine)``."""
