"""What is printed: a visit's certificate, and the A4 page it is drawn on."""
