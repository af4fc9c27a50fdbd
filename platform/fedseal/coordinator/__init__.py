"""The coordinator: schedules jobs, adds masked contributions, keeps the federation's records.

    service -> engine -> desk -> round_driver -> fedseal_crypto.masking
                          |-> job_run -> fedseal.methods
                          |-> ledger -> fedseal_governance

``service`` is the gRPC edge, ``engine`` the one thread that owns the jobs, ``desk`` one job with its current
round, ``round_driver`` and ``job_run`` the parts without I/O, ``ledger`` and ``views`` the database.
"""
