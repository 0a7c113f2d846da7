"""The tick: `decide(inputs, now) -> Tick`, then `settle(tick, outcomes) -> effects`. Deterministic: no clock, no threads, no I/O."""
