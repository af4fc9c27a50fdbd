"""The reference of the attacks, from the attacks themselves."""

import inspect
from collections.abc import Callable, Mapping

from blocks.fields import field_table
from blocks.markdown import code, table

from fedseal.simulation.attacks import attack_class, attack_names
from fedseal.simulation.attacks.backdoors import BackdoorSettings


def _attacks() -> str:
    classes = [attack_class(name) for name in attack_names()]
    parts = [
        table(
            ("attack", "attackers know", "backdoor"),
            [(code(item.name), item.knows, "yes" if _has_backdoor(item.settings_model) else "no") for item in classes],
        )
    ]
    for item in classes:
        words = {name: info.description or "" for name, info in item.settings_model.model_fields.items()}
        parts += [
            f"### {item.name}",
            f"{item.title}. {item.reference}.",
            f"```text\n{inspect.cleandoc(item.__doc__ or '')}\n```",
            field_table(item.settings_model, words, what=f"attack {item.name}"),
        ]
    return "\n\n".join(parts)


def _has_backdoor(model: type) -> bool:
    return issubclass(model, BackdoorSettings)


BLOCKS: Mapping[str, Callable[[], str]] = {"attacks": _attacks}
