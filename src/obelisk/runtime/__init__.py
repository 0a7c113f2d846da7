"""Threads and lanes: performs effects, feeds inputs, runs activities, holds what is deployed. No SQL, no routes.

`runtime.start` starts all of it. Nothing is imported here: a start has engines made (`compiling`) before it imports the rest.
"""
