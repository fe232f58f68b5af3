"""How good an image is, and whether it may be believed. No TensorFlow here."""
