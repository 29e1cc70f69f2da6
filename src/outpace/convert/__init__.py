"""Making model files: Hugging Face folders into GGUF, and GGUF files into other types."""
