"""Versions of the recommend contract."""
