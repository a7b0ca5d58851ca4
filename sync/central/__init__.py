"""The central server: verifies, stores and acknowledges what nodes send."""
