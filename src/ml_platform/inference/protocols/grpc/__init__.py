"""Unary gRPC over HTTP/2 without TLS, on the worker's own event loop.

`hpack` and `huffman` read header blocks (RFC 7541), `frames` are the bytes of HTTP/2 (RFC 9113), `metadata`
makes a request of headers and headers of an answer, `connection` keeps the rules of both sides, and `server`
holds the connections of a worker. What is asked for is answered by a mapping of methods (`unary`): nothing
here knows what a model is.
"""
