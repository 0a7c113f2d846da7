"""What is told to a collector of OpenTelemetry, if there is one: spans of executions, and lines of components.

    engine thread ─▶ facts ─▶ waiting ─▶ the exporter's thread: history, spans ─▶ otlp ─▶ collector
    lines ───────────────────────┘

Spans are made of what was committed, when the event that ends them was. Nobody ever waits for a collector.
"""
