"""`wasi:http`: outgoing requests of activities, under the egress policy of their component."""
