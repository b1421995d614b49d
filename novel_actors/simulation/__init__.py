"""The kernel: agents, populations, messages, ticks, partitions, shards and runs."""
