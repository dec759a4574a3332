"""What other programs load by an entry point. Each module needs the program that loads it, and the SDK."""
