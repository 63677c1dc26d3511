"""Which product, for whom, how likely, and why."""
