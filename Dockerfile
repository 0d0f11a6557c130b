# One image for each program of the shop: docker build --target order .
#
# The images hold one program and the C library; no shell. They run as nobody in particular, and need no file of their
# own but what is mounted.

FROM rust:1.95-bookworm AS build
COPY . /source
WORKDIR /shop
# The caches outlive a build: a changed source costs the crates that depend on it. Cargo tells by a file's time what has
# changed, which says nothing of a source that was just copied. So the workspace is cached too, and what differs replaced.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/shop,sharing=locked \
    find . -path ./target -prune -o -type f -printf '%P\n' \
      | while read -r file; do [ -f "/source/$file" ] || rm "$file" || exit 1; done \
    && cd /source && find . -type f -printf '%P\n' \
      | while read -r file; do cmp -s "$file" "/shop/$file" || install -D -T -m 644 "$file" "/shop/$file" || exit 1; done \
    && cd /shop && find services shared tests -type d -empty -delete \
    && cargo build --locked --release --bins -p order -p payment -p inventory -p email -p sandbox -p shop \
    && mkdir -p /out/data \
    && cd target/release && cp order payment inventory email sandbox shop /out

FROM gcr.io/distroless/cc-debian12:nonroot AS program
# Whom to trust over TLS. This base has it too; not every other one that may stand here has.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
USER 65532:65532
STOPSIGNAL SIGTERM

FROM program AS order
COPY --from=build /out/order /bin/
EXPOSE 8080
ENTRYPOINT ["/bin/order"]

FROM program AS payment
COPY --from=build /out/payment /bin/
EXPOSE 8081
ENTRYPOINT ["/bin/payment"]

FROM program AS inventory
COPY --from=build /out/inventory /bin/
EXPOSE 8082
ENTRYPOINT ["/bin/inventory"]

FROM program AS email
COPY --from=build /out/email /bin/
EXPOSE 8083
ENTRYPOINT ["/bin/email"]

FROM program AS sandbox
COPY --from=build /out/sandbox /bin/
# A volume that is mounted here begins as a copy, and so belongs to the program's user.
COPY --from=build --chown=65532:65532 /out/data /data
EXPOSE 8084 2525
ENTRYPOINT ["/bin/sandbox"]

FROM program AS shop
COPY --from=build /out/shop /bin/
ENTRYPOINT ["/bin/shop"]
