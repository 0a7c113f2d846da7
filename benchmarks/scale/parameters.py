"""Parameters: what large ones take, from a client to a result of the same size."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.figures import percentile
from benchmarks.scale.series import Sample, Series
from benchmarks.servers import fibo_toml, flows_toml, new_id, serving

_ECHO: Final = "testing:activity/acts.echo"


def _measure(size: int) -> Sample:
    text = "x" * size
    with serving(fibo_toml() + flows_toml()) as server:

        def once() -> float:
            begun = time.perf_counter()
            outcome = server.result(server.submit(_ECHO, text, execution_id=new_id()), 60)
            taken = time.perf_counter() - begun
            assert outcome == ("ok", text)
            return taken

        for _ in range(5):
            once()
        return {"an activity that returns them": 1_000 * percentile([once() for _ in range(30)], 0.5)}


PARAMETERS = Series(
    "parameters", "Large parameters", "bytes", "ms", (1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000), _measure
)
