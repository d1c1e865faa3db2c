# One image with all four programs: they share almost every byte, one tag cannot
# mix versions, and `tuma check` or `tuma dead` is at hand wherever one runs.
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
# With .git, from which the programs know their version.
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags '-s -w' -o /out/ ./cmd/ingest ./cmd/dispatcher ./cmd/dlr-collector ./cmd/tuma

# Nothing but the programs and the certificates of the providers' authorities:
# no shell, nothing to patch. Time zones are in the programs. They write nothing,
# so the root may be read-only.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
ENV PATH=/usr/local/bin
# ingest, dlr-collector, admin
EXPOSE 8080 8081 9090
CMD ["tuma", "--help"]
ARG VERSION=devel
LABEL org.opencontainers.image.title=tuma \
      org.opencontainers.image.source=https://github.com/tuma-sms/tuma \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION
