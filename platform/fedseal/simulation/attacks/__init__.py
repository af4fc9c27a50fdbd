"""Attacks on federated training, as test bench for defences; a simulation knows them, a federation does not."""

from fedseal.simulation.attacks.attack import Attack, Attacker, AttackRound, attack_class, attack_names, make_attack

__all__ = ["Attack", "AttackRound", "Attacker", "attack_class", "attack_names", "make_attack"]
