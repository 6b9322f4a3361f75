"""Using a trained model: on arrays, files, folders, and against experts' masks."""
