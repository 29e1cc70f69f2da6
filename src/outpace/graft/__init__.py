"""Giving a model a head that drafts, and taking it off: layers that predict further tokens, from file to file."""
