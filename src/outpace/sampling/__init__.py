"""Logits to tokens, pure."""
