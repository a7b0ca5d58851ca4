"""What lies on a disk: files of keys and settings, SQLite and PostgreSQL, and the tables of both ends."""
