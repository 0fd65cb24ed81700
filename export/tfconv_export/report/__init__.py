"""What is known of an export, for people and for programs."""
