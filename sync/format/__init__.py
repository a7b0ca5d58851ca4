"""What is signed, down to the bytes: records, messages, central's log; parsed, sealed and checked without a file."""
