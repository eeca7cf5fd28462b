"""Measurements, fits of model parameters to them, and scores on rows that a fit has not seen."""
