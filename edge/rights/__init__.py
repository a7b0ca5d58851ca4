"""What people may ask of whoever holds their face, and what the law wants done without being asked."""
