"""Rounds: every contender does a case, then the next case comes; and all that again. So a machine that grows slower or busier
in the meantime does it to all of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.figures import BY_NAME, Results

_QUIET: Final = 0.15
"""Cores that others may use when a case begins."""
_WAIT_S: Final = 30.0


def run(cases: Iterable[str], contenders: list[Contender], rounds: int, say: Callable[[str], None]) -> Results:
    """Measures. A contender that fails at a case is out of it, which is said."""
    results = Results()
    broken: set[tuple[str, str]] = set()
    chosen = list(cases)
    for number in range(1, rounds + 1):
        for case in chosen:
            for contender in contenders:
                if (case, contender.name) in broken:
                    continue
                wait_for_quiet()
                try:
                    figures = contender.measure(case)
                except Exception as error:  # noqa: BLE001 - hours of measuring must not be lost to one of them
                    broken.add((case, contender.name))
                    results.absent[f"{contender.name} in {BY_NAME[case].letter}"] = f"{type(error).__name__}: {error}"
                    say(f"round {number}: {contender.name} failed at {case}: {error}")
                    continue
                if figures:
                    results.add(case, contender.name, figures)
                    shown = ", ".join(f"{name} {value:,.2f}" for name, value in figures.items())
                    say(f"round {number}  {BY_NAME[case].letter} {case:10} {contender.name:16} {shown}")
    return results


def wait_for_quiet() -> None:
    """Waits, for a while, until the machine is left alone."""
    ends = time.monotonic() + float(os.environ.get("BENCH_QUIET_S", _WAIT_S))
    while time.monotonic() < ends:
        before, begun = _busy_s(), time.monotonic()
        time.sleep(0.5)
        if (_busy_s() - before) / (time.monotonic() - begun) < _QUIET:
            return


def _busy_s() -> float:
    """CPU time that was used by anything, on all cores."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
