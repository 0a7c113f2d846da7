"""Shipped for tests, ours and yours: simulated world, faults, Python guests, invariants. Never imports the server."""
