"""Doors: gRPC, later HTTP, UI, webhooks, metrics. No business rules."""
