"""Floats as canonical text: the shortest decimal that reads back as the same number, per width.

Decides how f32 and f64 are rounded and spelled. Knows no types and no JSON containers.

The text is Python's `repr` of a double (`1.0`, `0.1`, `1e+22`, `-0.0`), which is fixed by the language and so is safe to
compare across releases. An f32 is first replaced by the double nearest to its own shortest decimal: 0.1 as f32 is
`0.1`, not `0.10000000149011612`.
"""

from __future__ import annotations

import math
import struct
from typing import Final

_F32: Final = struct.Struct("<f")
_F32_MIN_NORMAL: Final = 2.0**-126


def to_f32(number: float) -> float:
    """`number` rounded to the nearest f32, as a double. `OverflowError` when that would be infinite."""
    rounded: float = _F32.unpack(_F32.pack(number))[0]
    return rounded


def f64_text(number: float) -> str:
    """The shortest decimal that reads back as `number`, which is finite."""
    return repr(number)


def f32_text(number: float) -> str:
    """The shortest decimal that rounds to the f32 `number`, which is finite and exactly an f32."""
    text = repr(number)
    normal = number == 0.0 or abs(number) >= _F32_MIN_NORMAL
    # Decimals of up to six digits are all different f32s, so a text that short is the shortest already.
    if len(text) <= 7 and normal:
        return text
    at_power_of_two = math.frexp(number)[0] in (0.5, -0.5)
    for digits in range(6 if normal else 1, 9):
        scientific = f"{number:.{digits - 1}e}"
        if _reads_as(scientific, number):
            return repr(float(scientific))
        if at_power_of_two:
            # Numbers above a power of two lie twice as far away as those below it: the next decimal away from zero may
            # read back although the nearest one does not.
            mantissa, exponent = scientific.split("e")
            sign, figures = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
            upper = f"{sign}{int(figures.replace('.', '')) + 1}e{int(exponent) - digits + 1}"
            if _reads_as(upper, number):
                return repr(float(upper))
    return repr(float(f"{number:.8e}"))  # nine digits are always enough


def _reads_as(text: str, number: float) -> bool:
    try:
        return to_f32(float(text)) == number
    except OverflowError:
        return False
