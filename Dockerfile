# The development tree as an image, to run castellan as a container's entrypoint:
#   docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN castellan run --policy /policy.yaml -- bash
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
      nodejs npm python3 make g++ libseccomp-dev nftables iproute2 openssh-client curl openssl ca-certificates util-linux \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/castellan
COPY package.json package-lock.json ./
COPY scripts scripts
COPY native native
COPY src src
RUN node scripts/setup.mjs && npm prune --omit=dev --ignore-scripts

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends nftables iproute2 openssh-client ca-certificates \
    && rm -rf /var/lib/apt/lists/* && useradd --uid 10001 --create-home --home-dir /sandbox sandbox
COPY --from=build /opt/castellan /opt/castellan
ENTRYPOINT ["/opt/castellan/build/bin/castellan"]
CMD ["run", "--", "/bin/bash"]
