"""Threads and lanes: performs effects, feeds inputs, runs activities, holds what is deployed. No SQL, no routes."""
