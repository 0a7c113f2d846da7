"""Guests: components, codec, fibers, linking, WASI. The only importer of wasmtime; knows no store."""
