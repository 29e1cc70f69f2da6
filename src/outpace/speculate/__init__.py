"""Guess, check, keep."""
