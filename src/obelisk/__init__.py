"""Obelisk: a deterministic, durable workflow engine on the WASM Component Model.

The rings of this package and what each must not do: ARCHITECTURE.md. Import what you need from its ring; nothing is
re-exported here, so that `import obelisk` stays cheap.
"""

__version__ = "0.1.0"
