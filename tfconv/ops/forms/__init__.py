"""Forms of a convolution in TensorFlow's operations, each in one file."""
