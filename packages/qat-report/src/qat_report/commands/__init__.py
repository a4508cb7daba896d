"""The commands, by subject. Whatever is heavy is imported inside them."""
