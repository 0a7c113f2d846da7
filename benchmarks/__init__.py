"""What servers do, in figures. `make bench` runs `python -m benchmarks`; docs/internals/benchmarks.md says what is measured."""
