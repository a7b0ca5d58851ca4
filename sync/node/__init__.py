"""A node's end: its ledger, whom it trusts, what it was ordered, and the uplink."""
