"""Scale: costs as work grows."""
