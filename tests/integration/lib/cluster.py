"""Three servers with one port behind one name, and clients of the public library that call them.

Each has an address of its own on the loopback network, .1, .2 and .3 of a net that nobody else uses; the name is in
a file that a client sees as its /etc/hosts (own_hosts.sh). Where namespaces are forbidden the target is the list of
addresses, and tests of names are skipped, loudly."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from client_driver import HOSTS, Driver  # noqa: E402
from peers import sign_server  # noqa: E402
from unary_load import DEADLINE_S, Order, open_channel  # noqa: E402
from userd_harness import SLOW, Server  # noqa: E402

from users.v1 import users_pb2, users_pb2_grpc  # noqa: E402

NAME = "users.test"
SHARED = "shared"  # the id of a user that every server has; its name tells which
NET = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"
READS = [{"service": "users.v1.UserService", "method": name} for name in ("GetUser", "ListUsers")]


def own_hosts_work():
    """Whether a process may have its own /etc/hosts here."""
    with tempfile.NamedTemporaryFile("w", suffix=".hosts") as file:
        file.write(f"127.0.0.9 {NAME}\n")
        file.flush()
        ran = subprocess.run([HOSTS, file.name, "getent", "ahostsv4", NAME], check=False,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return b"127.0.0.9" in ran.stdout


HAS_NAMES = own_hosts_work()


def skip_without_names(test):
    """For tests of names: where they cannot be had says so, or fails with USERD_NO_SKIP=1."""

    def run_or_skip(server):
        if HAS_NAMES:
            test(server)
            return
        assert not os.environ.get("USERD_NO_SKIP"), "neither mount nor user namespaces are allowed here"
        print(f"SKIPPED {test.__name__}: neither mount nor user namespaces are allowed here")

    run_or_skip.__name__ = test.__name__
    return run_or_skip


def service_config(health=False, policy="round_robin"):
    """Reads are tried again; calls wait for nothing by themselves."""
    config = {
        "loadBalancingConfig": [{policy: {}}],
        "methodConfig": [{"name": READS, "retryPolicy": {
            "maxAttempts": 5, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"]}}],
    }
    if health:
        config["healthCheckConfig"] = {"serviceName": "users.v1.UserService"}
    return config


class Cluster:
    """`count` servers; `addresses` may have one more, for somebody else's server."""

    def __init__(self, settings=None, count=3):
        self.servers = []
        self.settings = settings or {}
        self.count = count
        self.channels = []

    def __enter__(self):
        try:
            for number in range(1, self.count + 1):
                self._add(number)
        except BaseException:
            self.__exit__()
            raise
        self.folder = self.servers[0].folder
        self.token_file = self.folder / "token"
        self.token_file.write_text(self.servers[0].token())
        self.hosts = self.folder / "hosts"
        self.set_hosts(*self.addresses)
        return self

    def __exit__(self, *_):
        for channel in self.channels:
            channel.close()
        for server in self.servers:
            server.remove()

    def _add(self, number):
        first = self.servers[0] if self.servers else None
        port = first.port if first else 0
        server = Server({"server": {"listen": f"{NET}.{number}:{port}"}})
        self.servers.append(server)
        if first is None:
            self.ca = server.ca
            self.pair = sign_server(server.certificates.folder, "cluster",
                                    [NAME, "localhost", *(f"{NET}.{last}" for last in range(1, 10))])
        server.ca = self.ca
        settings = {name: dict(keys) for name, keys in self.settings.items()}
        settings.setdefault("server", {}).update(listen=f"{NET}.{number}:{port}")
        settings["tls"] = {"cert_file": self.pair[0], "key_file": self.pair[1]}
        # A client that stands still for seconds must not find its connection reset.
        settings["limits"] = {"max_handshakes_per_ip": "256", "tls_timeout_ms": "120000",
                              "linger_timeout_ms": "60000", **settings.get("limits", {})}
        settings["auth"] = {"mode": "jwt", "jwt_secret_file": self.servers[0].certificates.secret}
        server._write_config(settings)
        server.start()
        if first is None:  # it must come back to the port it was given
            settings["server"]["listen"] = server.address
            server._write_config(settings)
        self._share_user(server, number)

    def _share_user(self, server, number):
        user = users_pb2.User(id=SHARED, username=f"shared{number}", email="shared@example.com")
        with open_channel(self._order(server)) as channel:
            stub = users_pb2_grpc.UserServiceStub(channel)
            made = stub.SyncUsers(iter([user]), timeout=DEADLINE_S, wait_for_ready=True)
            assert [one.id for one in made] == [SHARED]

    def _order(self, server):
        return Order([server.address], self.ca, self.servers[0].token(), SHARED)

    @property
    def addresses(self):
        return [server.address for server in self.servers]

    @property
    def port(self):
        return self.servers[0].port

    def set_hosts(self, *addresses):
        """What the name stands for."""
        self.hosts.write_text("".join(f"{address.rpartition(':')[0]} {NAME}\n" for address in addresses))

    def driver(self, addresses=None, foreign=None, **options):
        """A client. Of the name, unless `addresses` are given. `foreign`: a server of somebody else is among
        them; it gives the shared user the id as a name."""
        if addresses is None and HAS_NAMES:
            options.setdefault("hosts", self.hosts)
            options.setdefault("target", f"dns:///{NAME}:{self.port}")
        else:
            options.setdefault("target", ",".join(addresses or self.addresses))
            options.setdefault("server_name", NAME)
        options.setdefault("ca", self.ca)
        options.setdefault("timeout_ms", DEADLINE_S * 1000)
        if "token" not in options:
            options.setdefault("token_file", self.token_file)
        options.setdefault("connect_timeout_ms", 20000 * SLOW)
        servers = {f"shared{number}": address for number, address in enumerate(self.addresses, 1)}
        if foreign is not None:
            servers[SHARED] = foreign.address
        return Driver(folder=self.folder, servers=servers, **options)

    def users(self, server):
        """Names of all users that a server has."""
        names = []
        with open_channel(self._order(server)) as channel:
            stub = users_pb2_grpc.UserServiceStub(channel)
            token = ""
            while True:
                request = users_pb2.ListUsersRequest(page_size=1000, page_token=token)
                page = stub.ListUsers(request, timeout=DEADLINE_S, wait_for_ready=True)
                names += [user.username for user in page.users]
                token = page.next_page_token
                if not token:
                    return names

    def stop(self):
        """All must end clean."""
        for server in self.servers:
            server.stop()
