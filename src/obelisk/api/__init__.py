"""Use cases, which every door calls. Knows no transport."""
