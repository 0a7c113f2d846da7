"""The command line, one file a noun: gRPC to a server, `runtime` and `api` for what is local. Never the store."""
