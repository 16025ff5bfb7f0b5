"""Front processes: they handle HTTP and tokenize, and send token ids over a Unix socket to the engine process.

`frames` and `stream` are the protocol, `scheduler` its side in a front, `engine` its side in the engine process, and
`supervisor` starts and watches all processes.
"""
