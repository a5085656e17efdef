"""Every version in one place. A change here makes new folders and new image keys in the cache; nothing is overwritten."""

KUBERNETES = "v1.35.8"
ETCD = "v3.6.5"
PAUSE = "v3.10.1"
COREDNS = "v1.15.0"
KIND = "v0.33.0"
HELM = "v4.3.1"
METRICS_SERVER = "v0.9.0"
PROMETHEUS = "v3.15.0"
GATEWAY_API = "v1.6.3"
TRAEFIK = "v3.7.15"
SEAWEEDFS = "4.48"
GO = "1.26.3"
"""The Go that is fetched where the machine has none."""

OLDEST_GO = (1, 21)
"""The first Go that fetches a newer toolchain by itself when a module asks for one."""

DEBIAN = "bookworm"
PYTHON = "3.11"
"""The Python of that Debian release."""
