"""Measurements, and the files they need."""
