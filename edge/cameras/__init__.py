"""The cameras themselves: what each was installed to see, and its picture live."""
