"""The doors: how people reach prentice. No logic of their own."""
