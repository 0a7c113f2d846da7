"""A configuration file to begin with: every key with its meaning and its default, commented out.

Decides the layout only; what there is, `obelisk.config.keys` says. Writes no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Any, Final

from obelisk.config.keys import COMPONENT_TABLES, KEYS_OF, ROOT, Key
from obelisk.config.kinds import Duration

_WIDTH: Final = 100
_EXAMPLES: Final = {
    "workflow": {"name": "my_workflow", "location": "${OBELISK_TOML_DIR}/my_workflow.wasm"},
    "activity_wasm": {"name": "my_activity", "location": "${OBELISK_TOML_DIR}/my_activity.wasm"},
    "activity_exec": {
        "name": "my_program",
        "location": "${OBELISK_TOML_DIR}/my_program.sh",
        "ffqn": "my:programs/all.my-program",
        "return_type": "result<string, string>",
    },
    "activity_stub": {"name": "my_stub", "location": "${OBELISK_TOML_DIR}/wit"},
}


def template() -> str:
    """The text. It is a valid configuration as it is: that of the defaults, without components."""
    lines = [
        "# The configuration of an Obelisk server. What is commented out is the default; remove the # to change it.",
        "# obelisk server run --config PATH-OF-THIS-FILE",
        *_keys(ROOT, {}),
    ]
    for table in COMPONENT_TABLES:
        lines += ["", "", "# One table for each component of this kind.", "#", f"# [[{table.path}]]"]
        lines += _keys(KEYS_OF[table.path], _EXAMPLES[table.path])
    return "\n".join(lines) + "\n"


def _keys(keys: Iterable[Key], examples: dict[str, str]) -> Iterator[str]:
    for key in keys:
        if not key.effect:
            continue
        yield ""
        yield from (f"# {line}" for line in wrap(key.meaning, _WIDTH))
        value = examples.get(key.path, key.default)
        if value is None:
            yield from (f"# {line}" for line in wrap(f"{key.path} has no default; it is {key.kind.expected}.", _WIDTH))
        else:
            yield f"# {_setting(key, value)}"


def _setting(key: Key, value: Any) -> str:
    if isinstance(key.kind, Duration):
        ((unit, count),) = value.items()
        return f"{key.path}.{unit} = {count}"
    return f"{key.path} = {json.dumps(value)}"
