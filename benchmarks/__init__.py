"""Figures as ratios in one run, kept as dated JSON."""
