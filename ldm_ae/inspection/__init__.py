"""What a latent space is like, in numbers, pictures and a page."""
