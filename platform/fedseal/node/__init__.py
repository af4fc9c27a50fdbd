"""The node at a data holder: dials out, decides for itself, trains where the data lies.

    run -> agent -> opening -> fedseal_crypto.masking, fedseal.methods
              |-> ledger -> fedseal_governance
              |-> connection (gRPC)

``opening`` holds every check before a contribution, ``ledger`` what the node remembers, ``data`` the rows.
"""
