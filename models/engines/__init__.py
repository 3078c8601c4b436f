"""Whoever runs a network: OpenVINO, ONNX Runtime, torch, TensorRT, all behind one protocol."""
