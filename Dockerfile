# openloop as a static binary in an empty image: nothing in it but the program and the certificates it verifies TLS with.
# Build it with "make image", without a container engine with "make image-tar" (tools/image), or for several platforms
# with
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=$(git describe --tags --always) -t NAME .

ARG GO_IMAGE=golang:1.26

# Runs on the building machine's own platform, and compiles for the one that was asked for.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
# The modules first: they change less often than the source, and this layer is kept while they don't.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
ARG TARGETOS
ARG TARGETARCH
# .git is not in the build context, so the version comes from outside. No cgo: the binary must not want a C library.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/openloop ./cmd/openloop
# Folders of the image below, which has no shell to make them with. A named volume mounted at /results takes its owner
# and mode from there; group 0 may write too, for platforms that choose the user themselves and leave it in that group.
# /tmp is where results are saved if /results can no longer be written to.
RUN mkdir -p /out/root/results /out/root/tmp && chmod 0775 /out/root/results && chmod 1777 /out/root/tmp

FROM scratch
ARG VERSION=devel
ARG REVISION=
LABEL org.opencontainers.image.title="openloop" \
      org.opencontainers.image.description="Finds the highest request rate at which an LLM serving endpoint still meets its latency objectives" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/openloop/openloop" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:0 /out/root/ /
COPY --from=build /out/openloop /openloop
# Numeric, so that Kubernetes can see without a user database that it is not root (runAsNonRoot).
USER 65532:65532
# The program writes to its working folder alone, so the root file system may be read-only: mount a volume at /results.
WORKDIR /results
ENTRYPOINT ["/openloop"]
