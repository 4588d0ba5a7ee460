"""Features as numbers: the encoder with its kinds of blocks, and the matrix that trainers take."""
