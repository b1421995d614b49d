"""Clock, random streams, partition table and mergeable statistics."""
