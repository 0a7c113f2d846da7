"""One function that a configuration describes itself, as WIT text.

Decides how the text is laid out: each part that the operator wrote has lines of its own, so that what is wrong with the
text can be told of the key that it came from. Whether the types are types, the reader of the text says.
"""

from __future__ import annotations

from typing import Final

import msgspec

from obelisk.core.names import FunctionName, function_of, interface_of

_PARAMS_FROM: Final = 4
"""The line of the first parameter."""


class Declared(msgspec.Struct, frozen=True):
    """A function by its name and the texts of its types. Brackets in the texts are balanced, and there are no braces."""

    ffqn: FunctionName
    params: tuple[tuple[str, str], ...]
    """Name and WIT type of each parameter."""
    return_type: str

    @property
    def text(self) -> str:
        """The package of its interface. Names are marked as such (`%`), since any of them may be a word of WIT."""
        package, _, rest = interface_of(self.ffqn).partition("/")
        namespace, _, name = package.partition(":")
        interface, at, version = rest.partition("@")
        params = [f"    %{param}: {type_},\n" for param, type_ in self.params]
        return (
            f"package %{namespace}:%{name}{at}{version};\n"
            f"interface %{interface} {{\n"
            f"  %{function_of(self.ffqn)}: func(\n"
            f"{''.join(params)}"
            f"  ) -> {self.return_type};\n"
            "}\n"
        )

    def part(self, line: int) -> tuple[str, str]:
        """The configuration's key that line `line` of `text`, counted from 1, comes from, and what is written there."""
        if line < _PARAMS_FROM:
            return "ffqn", self.ffqn
        number = line - _PARAMS_FROM
        if number < len(self.params):
            return f"params[{number}].type", self.params[number][1]
        return "return_type", self.return_type
