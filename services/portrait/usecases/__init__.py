"""What callers and time can ask of portrait: one method each, the transaction visible in it."""

from services.portrait.usecases.compute import KIND, Computing
from services.portrait.usecases.planning import Plans
from services.portrait.usecases.reading import Reading

__all__ = ["KIND", "Computing", "Plans", "Reading"]
