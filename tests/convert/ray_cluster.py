"""A Ray cluster of several nodes on this machine, each with its own processes: its address on standard output.

It lives until standard input ends. A line `lose N` there kills the N-th node that is no head.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(
        initialize_head=True, head_node_args={**small, "num_cpus": 0, "include_dashboard": False}
    )
    others = [cluster.add_node(**small, resources={"disk": 1}) for _ in range(int(sys.argv[1]))]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        cluster.remove_node(others[int(line.split()[1])], allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    main()
