# castellan and all it needs in /opt/castellan, and a link to it: an entrypoint, a sidecar, and what other images copy from.
#   docker build -t castellan .
#   docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN -v ./policy.yaml:/etc/castellan/policy.yaml:ro IMAGE-WITH-THE-AGENT …
# With --build-arg BUNDLE=here it takes dist/bundle as `npm run bundle` has made it, and needs no registry.
ARG BUNDLE=built

FROM debian:bookworm-slim AS built
RUN apt-get update && apt-get install -y --no-install-recommends nodejs npm python3 make g++
WORKDIR /source
COPY . .
RUN npm run bundle && mv dist /dist

FROM scratch AS here
COPY dist/bundle /dist/bundle
COPY dist/image /dist/image

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
