"""The tick: decide on inputs, settle on outcomes. Deterministic: no event loop, no threads, no clocks."""
