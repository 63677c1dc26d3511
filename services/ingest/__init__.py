"""Ingest: takes operator files and events in, exactly once, reconciled to the row, and hands them on."""
