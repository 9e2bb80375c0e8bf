"""steerkit: steer generative models by editing their activations, and measure what happened."""
