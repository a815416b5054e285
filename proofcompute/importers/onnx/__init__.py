"""Reads ONNX files (extra ``onnx``): the graph is lowered into a program, and nothing in it is executed."""
