"""What a visitor's own phone is shown: one form, behind a code that the desk's screen changes every minute."""
