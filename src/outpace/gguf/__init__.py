"""Bytes on disk: formats, no model."""
