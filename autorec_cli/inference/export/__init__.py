"""Export of models for other programs: vectors and ONNX graphs."""
