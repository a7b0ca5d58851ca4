"""Evidence that somebody else made, held to the rules: chains, acks, central's log, and the file they travel in."""
