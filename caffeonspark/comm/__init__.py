"""The channel between ranks: collectives over authenticated TCP connections.

``base`` says what a communicator does, ``tcp`` does it between machines and ``local`` between threads of one
process. ``handshake`` lets in only who knows the job's secret, ``seal`` encrypts what follows where that is
wanted, ``link`` moves messages over one connection, ``layout`` cuts a list of arrays into the ring's segments and
chunks. Nothing here knows Spark or Caffe.
"""
