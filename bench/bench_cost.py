"""CPU time per request: userd against its peers in turns, then userd alone in other shapes."""

import statistics

import bench_peers
from bench_load import LoadFailed, cost, h2load, load, method_of, run, words_of
from bench_rig import USERBENCH, cpu_seconds, memory_bytes

GOAL_SHAPE = (10, 10)
CREATE_SHAPE = (4, 10)  # no more than password.queue_max lets wait
SHAPES = ((1, 1), (100, 1), (1, 100), (10, 100))
ID_COUNT = 1000  # of h2load's list for REST
USERD = "userd"


class Userd:
    """A server of bench_rig with what bench_peers' running servers have."""

    def __init__(self, server):
        self.name, self.process, self.address = USERD, server.process, server.address
        self.pid = server.process.pid


def one_cost(bench, running, seconds, connections, streams, **options):
    return cost(running.process, bench.client_core, running.address, bench.ca, bench.token_file,
                users=bench.users, connections=connections, streams=streams, seconds=seconds,
                **options)


def rest_cost(bench, running, seconds):
    """As many requests under way as the others have: HTTP/1.1 has one on each connection."""
    connections, streams = GOAL_SHAPE
    step = max(1, bench.users // ID_COUNT)
    urls = bench.path / "urls"
    urls.write_text("".join(f"https://{running.address}/users/{bench_peers.user_id(index)}\n"
                            for index in range(0, bench.users, step)))
    return h2load(running.process, bench.client_core, seconds, connections * streams, 1,
                  f"--input-file={urls}",
                  ["--h1", "-H", f"authorization: Bearer {bench.token}"])


def peers(bench):
    """GetUser at 10 x 10, random ids; each server in turn, so often."""
    seconds = bench.seconds(3)
    rows = {USERD: []}
    missing = {}
    running = [Userd(bench.server)]
    with bench.started_peers(("grpc", "rest"), missing) as started:
        running += started
        for one in running:
            measure_one(bench, one, 0.3)  # warm
        for _ in range(bench.rounds):
            for one in running:
                rows.setdefault(one.name, []).append(measure_one(bench, one, seconds))
        versions = {one.name: one.version for one in started}
        memory = {one.name: memory_bytes(one.process) for one in running}
    median = {name: {key: statistics.median(row[key] for row in found) for key in found[0]}
              for name, found in rows.items()}
    return {"rows": rows, "median": median, "missing": missing, "versions": versions,
            "memory_bytes": memory}


def measure_one(bench, running, seconds):
    if running.name.startswith("rest"):
        return rest_cost(bench, running, max(1, round(seconds)))
    return one_cost(bench, running, seconds, *GOAL_SHAPE)


def against_nghttpd(bench):
    """h2load as the driver of both: the token a literal in each request."""
    body = bench.path / "get_user"
    message = bench_peers.user_id(0).encode()
    message = b"\x0a" + bytes([len(message)]) + message
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    arguments = ["-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers",
                 "-H", f"authorization: Bearer {bench.token}"]
    path = "/users.v1.UserService/GetUser"
    seconds = max(1, round(bench.seconds(3)))
    rows = {USERD: [], "nghttpd": []}
    missing = {}
    with bench.started_peers(("h2",), missing) as started:
        running = [Userd(bench.server), *started]
        for _ in range(bench.rounds):
            for one in running:
                rows[one.name].append(h2load(one.process, bench.client_core, seconds, *GOAL_SHAPE,
                                             f"https://{one.address}{path}", arguments))
    median = {name: statistics.median(row["us"] for row in found)
              for name, found in rows.items() if found}
    return {"rows": rows, "median": median, "missing": missing}


def shapes(bench):
    """userd alone: other numbers of connections and streams, and other calls."""
    seconds = bench.seconds(2)
    running = Userd(bench.server)
    found = {}
    for connections, streams in (*SHAPES, GOAL_SHAPE):
        found[f"{connections}x{streams}"] = best_of(
            [one_cost(bench, running, seconds, connections, streams) for _ in range(bench.rounds)])
    found["10x10, token literal"] = one_cost(bench, running, seconds, *GOAL_SHAPE,
                                             literal_token=True)
    found["10x10, Zipf ids"] = one_cost(bench, running, seconds, *GOAL_SHAPE, ids="zipf")
    for name, options in (("UpdateUser", {"mix": "UpdateUser=1"}),
                          ("ListUsers of 50", {"mix": "ListUsers=1"}),
                          ("95 GetUser, 5 UpdateUser", {"mix": "GetUser=95,UpdateUser=5"})):
        found[f"10x10, {name}"] = one_cost(bench, running, seconds, *GOAL_SHAPE, **options)
    found["4x10, CreateUser"] = one_cost(bench, running, seconds, *CREATE_SHAPE, mix="CreateUser=1")
    return {"rows": found}


def best_of(rows):
    """The median by cost, whole, with the costs of all."""
    rows = sorted(rows, key=lambda row: row["us"])
    return {**rows[len(rows) // 2], "all_us": [row["us"] for row in rows]}


def peers_create(bench):
    """CreateUser where a peer has it, without what userd's durability costs the disk's waiting."""
    seconds = bench.seconds(2)
    missing = {}
    rows = {}
    with bench.started_peers(("grpc",), missing) as started:
        for one in (Userd(bench.server), *started):
            rows[one.name] = one_cost(bench, one, seconds, *CREATE_SHAPE, mix="CreateUser=1")
    return {"rows": rows, "missing": missing}


def handshakes(bench):
    """Full handshakes, four at a time: server's CPU for each, the connection's making and end
    included."""
    rows = []
    for _ in range(bench.rounds):
        process = bench.server.process
        before = cpu_seconds(process)
        result = run(["taskset", "-c", str(bench.client_core), USERBENCH, "handshakes",
                      "--target", bench.server.address] +
                     words_of({"ca": bench.ca, "in_flight": 4, "seconds": max(1, round(bench.seconds(2)))}))
        used = cpu_seconds(process) - before
        count = result["count"]
        if result["failures"] > 0:
            raise LoadFailed(f"{result['failures']} handshakes failed")
        rows.append({"us": used / count * 1e6, "count": count})
    return best_of(rows)


def saturation(bench):
    """Calls a second at 10 x 10, for the loads that are a share of it."""
    if "saturation_per_s" not in bench.facts:
        result = load(bench.client_core, bench.server.address, bench.ca, bench.token_file,
                      users=bench.users, connections=10, streams=10, warm_up=0.3,
                      seconds=bench.seconds(2))
        bench.facts["saturation_per_s"] = result["phases"][0]["per_s"]
        bench.facts["saturation_latency_us"] = method_of(result)["latency_us"]
    return bench.facts["saturation_per_s"]
