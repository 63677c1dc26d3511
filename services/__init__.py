"""The services of the platform, one package each, and the kit under them."""
