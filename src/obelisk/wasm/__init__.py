"""Running WASM components: the only importer of wasmtime, the only runner of wasm-tools.

Components become guests: coroutines with data on both sides. Decides how a component is compiled, linked, polled and
freed; must not decide what a host call means, read or write the store, or know any other ring but `wit` and `core`.
"""
