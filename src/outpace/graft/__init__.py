"""Giving a model heads that draft: training, tuning and measuring them, putting them on a file and taking them off."""
