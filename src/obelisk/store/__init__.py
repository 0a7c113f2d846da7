"""Durable memory behind one protocol and one conformance suite. The only place that speaks SQL; decides nothing."""
