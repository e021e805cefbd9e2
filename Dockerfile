# syntax=docker/dockerfile:1

# --- build: the toolchain stays here -------------------------------------------------------------
FROM rust:1.95-slim-bookworm AS build
# A C compiler and cmake: SQLite and the TLS library bring C code.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The manifest names test targets whose files are not sent to the builder; cargo wants to see them.
RUN mkdir -p tests/it && touch tests/architecture.rs tests/it/main.rs
# The caches speed up the next build; what leaves them is copied out.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --profile dist --locked --bin record-sync \
    && install -D target/dist/record-sync /out/record-sync

# --- run: one binary, one user without rights ----------------------------------------------------
FROM debian:bookworm-slim
# Certificates for outside systems; curl for the health check.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/*

RUN groupadd --gid 10001 sync \
    && useradd --uid 10001 --gid sync --no-create-home --shell /usr/sbin/nologin sync \
    && install -d -o sync -g sync /config /data /logs \
    # Relative paths start at the configuration's folder: data/… and logs/… land in the volumes.
    && ln -s /data /config/data \
    && ln -s /logs /config/logs

COPY --from=build /out/record-sync /usr/local/bin/record-sync
COPY --chown=sync:sync customer_settings.toml rules.json /config/

USER sync
WORKDIR /config
# The container's own address: publish the port to let anybody in (`-p 127.0.0.1:8000:8000`).
ENV RECORD_SYNC_CONFIG=/config/customer_settings.toml \
    RECORD_SYNC_LISTEN=0.0.0.0:8000
# The demo table, so that the image shows something before anybody configures it.
RUN record-sync demo insert --count 0

VOLUME ["/data", "/logs"]
EXPOSE 8000
# The root file system may be read-only (`--read-only`): only the volumes and, for rules that are
# posted, /config are written.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--show-error", "--output", "/dev/null", "http://127.0.0.1:8000/healthz"]
# A first SIGTERM drains; give it longer than `drain_timeout` (`docker stop --time 30`).
STOPSIGNAL SIGTERM
ENTRYPOINT ["record-sync"]
CMD ["run"]
