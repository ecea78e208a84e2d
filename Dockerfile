# castellan and all it needs in /opt/castellan, and a link to it: an entrypoint, a sidecar, and what other images copy from.
#   docker build -t castellan .
#   docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN -v ./policy.yaml:/etc/castellan/policy.yaml:ro IMAGE-WITH-THE-AGENT …
# With --platform linux/amd64,linux/arm64 it is an image for both, cross-built: nothing is emulated but Node, for its code caches.
# With --build-arg BUNDLE=here it takes dist/bundle as `npm run bundle` has made it, and needs no registry; with BUNDLE=each the one that
# `npm run bundle -- --architecture NAME` has made for the platform.
ARG BUNDLE=built
ARG TARGETARCH

FROM --platform=$BUILDPLATFORM debian:bookworm-slim AS built
RUN apt-get update && apt-get install -y --no-install-recommends nodejs npm python3 make g++
WORKDIR /source
COPY . .
ARG TARGETARCH
RUN rm -rf dist && npm run bundle -- --architecture "$TARGETARCH" && mkdir /dist && mv dist/bundle-* /dist/bundle && mv dist/image /dist/image

FROM scratch AS here
COPY dist/bundle /dist/bundle
COPY dist/image /dist/image

FROM scratch AS each-amd64
COPY dist/bundle-x64 /dist/bundle
COPY dist/image /dist/image

FROM scratch AS each-arm64
COPY dist/bundle-arm64 /dist/bundle
COPY dist/image /dist/image

FROM each-${TARGETARCH} AS each

FROM ${BUNDLE} AS source

FROM scratch
COPY --from=source /dist/bundle /opt/castellan
# /openshell-sandbox, a link: OpenShell's drivers mount the image as a volume and start that name. A directory is copied, for links in it stay links.
COPY --from=source /dist/image /
LABEL org.opencontainers.image.title="castellan" \
      org.opencontainers.image.description="The supervisor inside an AI agent's sandbox" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/opt/castellan/bin/castellan"]
CMD ["--help"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/opt/castellan/bin/castellan", "probe", "live"]
