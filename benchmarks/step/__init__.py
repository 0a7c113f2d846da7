"""`make bench ARGS=step`: where the time of one step goes."""
