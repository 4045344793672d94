"""The channel between ranks: collectives over authenticated TCP connections.

``base`` says what a communicator does, ``tcp`` does it between machines, ``shared_memory`` where all ranks are on
one, and ``local`` between threads of one process. With ``helped`` a process next to the rank, ``helper``, exchanges
while the rank computes; ``memory`` is what processes share, and ``rooms`` are where a helper finds its rank's arrays.
Where several machines have several ranks ``hierarchy`` says who adds up what, in ``transfers``, by the way that
``link_model`` chooses, and ``bf16`` rounds what is compressed.
``plan_cache`` keeps what is planned for arrays that are exchanged again and again.
``credentials`` holds what parties know each other by, with which ``handshake`` authenticates connections,
``encryption`` encrypts what follows where that is wanted, ``checksum`` finds damage where it is not, ``link`` moves
messages over one connection, ``layout`` splits a list of arrays into the ring's segments and chunks, ``addresses``
says where to listen, and ``wire`` frames what ranks and driver tell each other. Nothing here knows Spark or Caffe.
"""
