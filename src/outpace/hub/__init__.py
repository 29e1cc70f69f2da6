"""A model name to a verified local file."""
