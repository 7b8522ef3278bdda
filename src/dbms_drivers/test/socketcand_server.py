# SPDX-License-Identifier: Apache-2.0
"""A socketcand server for tests that loses its clients on purpose."""

import queue
import socket
import threading

WAIT = 20.0  # s, far more than anything here needs


class Server:
    """A socketcand server for one client, that can leave and come back on its port."""

    def __init__(self, port=0, greeting=b'< hi >', after=b''):
        self.greeting, self.after = greeting, after
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(('127.0.0.1', port))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        self.received = queue.Queue()
        self.client = None
        self.ready = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            self.client, _ = self.listener.accept()
            self.client.sendall(self.greeting)
            for answer in (b'< ok >', b'< ok >' + self.after):
                self.client.recv(100)
                self.client.sendall(answer)
            self.ready.set()
            while data := self.client.recv(1000):
                self.received.put(data)
        except OSError:
            pass  # it was told to leave

    def say(self, text):
        self.client.sendall(text)

    def leave(self):
        for end in (self.listener, self.client):
            if end is not None:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                end.close()
