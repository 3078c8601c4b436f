"""Training in torch: images and labels in, weights and their figures out."""
