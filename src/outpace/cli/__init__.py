"""The command line: what is typed to what runs."""
