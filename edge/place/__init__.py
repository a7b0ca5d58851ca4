"""Where the box stands: position and fence, what it sees around it, and whether both still are as attested."""
