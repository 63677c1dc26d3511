"""The nouns of portrait as pure functions over values and arrays: no I/O, no clock, no SQL engine."""
