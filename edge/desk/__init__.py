"""The front desk without its pages: what it records, and what it knows of the day."""
