"""What central keeps: every node's records as they were signed, and what it knows of the nodes."""
