"""Settings for tests: those of an app's ``chatsync.toml``, without a file."""

from dataclasses import replace
from typing import Any

import msgspec

from chatsync.config import Config
from chatsync.settings import Settings


def settings_with(settings: Settings, **sections: Any) -> Settings:
    """``settings`` with other keys, as in ``stream={"user_role": "member"}``."""
    config = settings.config
    for name, changed in sections.items():
        if isinstance(changed, dict):
            changed = msgspec.structs.replace(getattr(config, name), **changed)
        config = msgspec.structs.replace(config, **{name: changed})
    # As if it had been in a file, where each value has its type.
    checked = msgspec.convert(msgspec.to_builtins(config), Config)
    return replace(settings, config=checked)
