"""What the kiosk and the console share: accounts, sessions, languages, looks."""
