"""Latent tags (潜在标签): what no source tells of a customer but what can be learnt, and what to do about it."""

from services.portrait.domain.latent.choice import ALGORITHMS, LARGE, Choice, choose
from services.portrait.domain.latent.completion import COMPLETED, Inferred, completed
from services.portrait.domain.latent.machine import Machine
from services.portrait.domain.latent.quality import auc, calibration_error, log_loss, measured
from services.portrait.domain.latent.warning import Cell, Warned, graded, matrix, warnings

__all__ = [
    "ALGORITHMS",
    "COMPLETED",
    "LARGE",
    "Cell",
    "Choice",
    "Inferred",
    "Machine",
    "Warned",
    "auc",
    "calibration_error",
    "choose",
    "completed",
    "graded",
    "log_loss",
    "matrix",
    "measured",
    "warnings",
]
