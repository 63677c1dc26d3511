"""What admin decides: the tree, what may be granted, the chain of the log, secrets."""
