"""The Open Inference Protocol V2 (KServe, Triton): tensors in, tensors out, over REST and gRPC.

`datatypes`, `inputs` and `outputs` know tensors and a model's signature, and neither of the two transports;
`body` and `rest` are V2 over HTTP with its binary extension, `grpc` is the same over gRPC.
"""
