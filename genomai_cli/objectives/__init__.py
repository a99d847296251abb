"""What is trained for: losses, from network outputs and targets. They know no files and no training loop."""
