#!/usr/bin/env bash
# Makes the base images that Dockerfile and compose.yaml name, out of Debian packages and this machine's own
# toolchain, for a machine whose engine can pull none. An image that is there already, pulled or made, is left alone.
#
#   docker/base-images.sh            make what is missing
#   docker/base-images.sh --remove   remove what this script made, and nothing else
#
# They are stand-ins: same names, same paths, same users as the real ones, so that the very Dockerfile and compose.yaml
# that users run are what is tested here. Do not ship them.
set -euo pipefail

SLIM=debian:bookworm-slim
RUST=rust:1.95-bookworm
PHP=php:8.2-cli
PROMETHEUS=prom/prometheus:v2.42.0
# Marks what was made here.
MADE=wa-sidecar.stand-in

if ! docker info >/dev/null 2>&1; then
  echo "skipped: no Docker engine"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

missing() { ! docker image inspect "$1" >/dev/null 2>&1; }
made() { printf '%s made in %ss\n' "$1" $((SECONDS - started)); }
# build TAG <CONTEXT-OR-DOCKERFILE
build() { docker build -q -t "$1" - >"$work/build" 2>&1 || { cat "$work/build" >&2; exit 70; }; }
# Where Debian is: whatever this machine's apt uses, never a name of our own.
debian_sources() {
  apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    sort -u
}
# The files of a program and all that its loader needs, by their own paths.
with_libraries() {
  printf '%s\n' "$@"
  ldd "$@" 2>/dev/null | grep -o '/[^ :]*' | sort -u
}

slim() {
  command -v mmdebstrap >/dev/null || { echo "base-images.sh: needs mmdebstrap: apt-get install mmdebstrap" >&2; exit 69; }
  debian_sources >"$work/sources.list"
  # force-unsafe-io: nobody needs a half-made image to survive a power cut.
  mmdebstrap --quiet --variant=apt --mode=root --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm - "$work/sources.list" |
    docker import --change "LABEL $MADE=1" --change 'CMD ["bash"]' - "$SLIM" >/dev/null
}

rust() {
  local sysroot version
  sysroot=$(rustc --print sysroot)
  version=$(rustc --version | cut -d' ' -f2)
  [[ $RUST == rust:"${version%.*}"-* ]] || {
    echo "base-images.sh: $RUST is named, and this machine's rustc is $version" >&2
    exit 78
  }
  mkdir -p "$work/rust/cargo"
  # A registry that this machine's cargo is told to use is used in the build too; credentials stay here.
  local config=${CARGO_HOME:-$HOME/.cargo}/config.toml
  [ ! -f "$config" ] || cp "$config" "$work/rust/cargo/"
  # And whatever this machine's network is trusted by.
  cp /etc/ssl/certs/ca-certificates.crt "$work/rust/"
  cat >"$work/rust/Dockerfile" <<END
FROM $SLIM
LABEL $MADE=1
RUN apt-get -qq update \\
 && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io gcc libc6-dev >/dev/null \\
 && rm -rf /var/lib/apt/lists /var/cache/apt/*.bin
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY cargo /usr/local/cargo
COPY toolchain /usr/local
ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
  # Compiler, cargo, and the standard library and linker of this machine's own target; no documentation.
  local host
  host=$(rustc -vV | sed -n 's/^host: //p')
  tar -c -C "$work/rust" . >"$work/context.tar"
  (cd "$sysroot" && tar -r -f "$work/context.tar" --transform 's,^,toolchain/,' \
    bin/rustc bin/cargo lib/*.so* "lib/rustlib/$host")
  build "$RUST" <"$work/context.tar"
  rm "$work/context.tar"
}

php() {
  build "$PHP" <<END
FROM $SLIM
LABEL $MADE=1
RUN apt-get -qq update \\
 && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io php8.2-cli >/dev/null \\
 && rm -rf /var/lib/apt/lists /var/cache/apt/*.bin
CMD ["php", "-a"]
END
}

prometheus() {
  local binary
  binary=$(type -P prometheus) || { echo "base-images.sh: needs prometheus: apt-get install prometheus" >&2; exit 69; }
  mkdir -p "$work/prometheus"/{bin,etc/prometheus,prometheus}
  with_libraries "$binary" | xargs cp -L --parents -t "$work/prometheus"
  ln -s "$binary" "$work/prometheus/bin/prometheus"
  chown 65534:65534 "$work/prometheus/prometheus"
  # Go resolves names by itself if there is no nsswitch.conf that says otherwise; user and paths as in the real one.
  tar -c -C "$work/prometheus" . | docker import --change "LABEL $MADE=1" --change 'USER 65534' \
    --change 'WORKDIR /prometheus' --change 'EXPOSE 9090' --change 'ENTRYPOINT ["/bin/prometheus"]' \
    --change 'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]' \
    - "$PROMETHEUS" >/dev/null
}

if [ "${1:-}" = --remove ]; then
  for image in "$RUST" "$PHP" "$PROMETHEUS" "$SLIM"; do
    if [ "$(docker image inspect --format "{{index .Config.Labels \"$MADE\"}}" "$image" 2>/dev/null)" = 1 ]; then
      docker image rm "$image" >/dev/null && echo "$image removed"
    fi
  done
  exit
fi

for image in "$SLIM" "$RUST" "$PHP" "$PROMETHEUS"; do
  missing "$image" || continue
  started=$SECONDS
  case $image in
    "$SLIM") slim ;;
    "$RUST") rust ;;
    "$PHP") php ;;
    "$PROMETHEUS") prometheus ;;
  esac
  made "$image"
done
