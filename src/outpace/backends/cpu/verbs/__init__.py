"""How each verb becomes instructions, one file for each kind."""
