"""An independent implementation of proto/SPEC.md: it makes the test vectors and plays either end of a link.

Written from the specification alone, to be correct and plain rather than fast. Nothing here shares code with the Rust
program; where the two disagree, one of them or the specification has a bug.

    secret, noise, payload, keys, frame, message    bytes: sections 2 to 6, no state of a link
    handshake                                       what either side concludes from a handshake message (3.4, 3.5)
    streams, link                                   a link without sockets and clocks (sections 5 to 12)
    peer                                            the same over real sockets, either role
"""
