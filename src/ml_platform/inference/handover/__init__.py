"""Connections that outlive the worker that answers them.

The parent process accepts connections and keeps a descriptor of each; a worker gets a second one. What a
worker reads and what it is about to write stand in memory that it shares with the parent (`journal`), and
the kernel knows how much of either has passed (`kernel`). So when a worker is killed, at whatever
instruction, the parent knows for each connection whether its request was answered, and hands the
connection to another worker, which answers what was not (`keeper`, `connection`). The caller notices
nothing but the time that it took. Linux only: elsewhere connections end with their worker.

Connections of gRPC are HTTP/2 and carry many calls, whose state is the worker's own. The parent ends theirs
in the worker's place, with a frame that tells clients that what was not answered was not begun (`tail`):
they repeat it on a new connection by themselves.
"""
