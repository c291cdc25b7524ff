"""What each command does with its options: build the parts, then run them."""
