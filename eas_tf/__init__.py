"""Efficient Architecture Search for Keras and TensorFlow, with a Gymnasium environment."""
