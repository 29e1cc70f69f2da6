"""Time: who runs when, with which memory."""
