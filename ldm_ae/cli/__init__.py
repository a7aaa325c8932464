"""`ldm-ae`: one command, a module for each of its verbs."""
