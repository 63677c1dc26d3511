"""The SQL of recommend; never commits."""

from services.recommend.store.inputs import Inputs, Served
from services.recommend.store.knowledge import Held, Knowledge, Known
from services.recommend.store.models import Matrices, Matrix, Model, Models

__all__ = ["Held", "Inputs", "Knowledge", "Known", "Matrices", "Matrix", "Model", "Models", "Served"]
