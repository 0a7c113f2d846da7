"""Our protobuf schema and the code generated from it. A leaf, used by `server` and `cli`."""
