"""The corrections that offices ask for, the words of their desks on them, and head office's own."""
