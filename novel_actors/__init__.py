"""The public names of novel_actors."""
