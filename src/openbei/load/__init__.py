"""An open-loop load generator for HTTP servers of models.

Requests are sent at the times of a schedule, whether or not earlier ones have been answered, as independent clients do.
Latency is counted from the scheduled time. A server that stalls therefore delays every request of that time, and all of
them are in the percentiles; a client that waits for each answer would record one slow request and send no others.
"""
