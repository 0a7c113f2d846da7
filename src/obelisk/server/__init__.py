"""Doors: gRPC. No business rules."""
