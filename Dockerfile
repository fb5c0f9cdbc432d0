# The operator: one static binary and nothing else. Needs an engine that knows cache mounts
# (docker with BuildKit, podman, buildah); `make image` takes the first of them that it finds.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The one build configuration of the project, for whatever machine this is.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    make binaries && mkdir /out && cp target/release-binary/lossless-upgrade /out/

FROM scratch
COPY --from=build /out/lossless-upgrade /lossless-upgrade
USER 65532:65532
ENTRYPOINT ["/lossless-upgrade"]
