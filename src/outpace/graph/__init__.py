"""The narrow waist: verbs, plans, passes."""
