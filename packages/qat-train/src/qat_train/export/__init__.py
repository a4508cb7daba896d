"""From a checkpoint of a run to files that a runtime loads, and the proof that they compute what was trained.

`folding` turns a quantized detector into codes, scales and biases (`network`); `packed` writes and reads them with
numpy alone; `deployed` makes a torch module of them, which `graph` turns into ONNX; `parity` compares.
"""
