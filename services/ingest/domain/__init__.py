"""What ingest knows: contracts, lines, judging, reconciliation, identities, events. No I/O, no clock, no SQL."""
