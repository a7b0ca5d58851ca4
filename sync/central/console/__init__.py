"""Central's pages: the nodes, and the visits they have proven."""
