"""Memory of userd, as resident set: what grows by how much with each connection, stream, watcher and
user. What the kernel keeps for its sockets is not in it."""

from bench_rig import folder, make_server, memory_bytes
from sizing import measure_connections, measure_watchers

CONNECTIONS = 1000
WATCHERS = 10000
MANY_USERS = 1000000
SOME_USERS = 100000


def of_users(count, bare):
    """Resident with so many users from the log, above that with one. Bare ones are those that
    SyncUsers makes, of 184 bytes; the others have a password's hash and a request_id too."""
    sizes = []
    for users in (1, count):
        with folder() as path:
            server = make_server(path / "users", users, bare=bare)
            try:
                server.start()
                server.wait_for(r"\bready\b")
                sizes.append(memory_bytes(server.process))
                server.stop()
            finally:
                server.remove()
    return (sizes[1] - sizes[0]) / count


def memory(bench):
    found = {}
    with folder() as path:
        count = CONNECTIONS
        base, idle, used = measure_connections(path / "tls", True, count)
        found["connections"] = {"count": count, "base": base, "idle": idle, "used": used}
    with folder() as path:
        _, idle, used = measure_connections(path / "plain", False, count)
        found["plain_connections"] = {"count": count, "idle": idle, "used": used}
    with folder() as path:
        found["watcher"] = measure_watchers(path / "watchers", WATCHERS)
    found["user"] = {str(SOME_USERS): of_users(SOME_USERS, True)}
    found["user_with_password"] = {str(SOME_USERS): of_users(SOME_USERS, False)}
    if not bench.quick:
        found["user"][str(MANY_USERS)] = of_users(MANY_USERS, True)
        found["user_with_password"][str(MANY_USERS)] = of_users(MANY_USERS, False)
    return found
