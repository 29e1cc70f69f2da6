"""Verbs computed at once on numpy: what the reference backend plays plans over."""
