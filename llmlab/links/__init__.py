"""Links between a lab and its replicas on other machines: mutual TLS from socket to socket.

For everything else of a lab a replica is a unix socket of the lab's machine. What listens there is
an NGINX that passes whatever comes on, by TLS, to an NGINX beside the replica, which passes it to
the replica's own unix socket. So neither the gateway nor an API speaks TLS, knows an address, or
has a key of this.

Nothing here knows who starts replicas, or where.
"""
