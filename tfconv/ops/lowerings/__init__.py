"""Where an operation is traced, and the forms that it takes there."""
