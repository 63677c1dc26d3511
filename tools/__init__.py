"""Tools for those who work on the platform; nothing here is imported by a service."""
