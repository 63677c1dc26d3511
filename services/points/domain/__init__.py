"""Points in plain Python and arrays: no I/O, no clock, no gRPC, no SQL."""
