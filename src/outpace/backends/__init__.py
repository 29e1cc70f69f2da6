"""Plans made runnable."""
