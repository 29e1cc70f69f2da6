"""What models are asked in measurements."""
