"""Finding methods: the installed ones, through the entry-point group ``fedseal.methods``, and no others."""

from collections.abc import Mapping
from typing import cast

from fedseal.learning.plugins import load_plugin, plugin_names, validated_settings
from fedseal.methods.contract import Method

METHOD_GROUP = "fedseal.methods"


def method_names() -> tuple[str, ...]:
    """Installed methods, sorted."""
    return plugin_names(METHOD_GROUP)


def method_class(name: str) -> type[Method]:
    """The method's class, with its statement and settings model.

    Raises:
        UnknownPlugin: Not installed here.
    """
    return cast("type[Method]", load_plugin(METHOD_GROUP, "method", name))


def make_method(name: str, settings: Mapping[str, object]) -> Method:
    """A method bound to a job's settings.

    Raises:
        UnknownPlugin: Not installed here.
        SettingsRefused: A setting is unknown or out of range.
    """
    chosen = method_class(name)
    return chosen(validated_settings(chosen.settings_model, settings, what=f'method "{name}"'))
