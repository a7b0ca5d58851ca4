"""The front desk's pages: a process, user and key of their own."""
