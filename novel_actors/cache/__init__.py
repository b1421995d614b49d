"""The cache of three tiers."""
