#!/usr/bin/env bash
# Runs the pair as users run it, on a real engine, and proves what docker/README.md says of it: one line for each thing
# proved, `N passed, N failed` at the end, and nothing left behind but cached layers.
#
#   sudo docker/smoke.sh             everything
#   sudo docker/smoke.sh --keep      leave it running (and say how to end it)
#
# Needs a Docker engine on this very machine, Compose, tcpdump, promtool, and root: it captures on the engine's bridge
# and kills processes from outside. Where no image can be pulled, run docker/base-images.sh first.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

if ! docker info >/dev/null 2>&1; then
  echo "skipped: no Docker engine"
  exit 0
fi
if docker compose version >/dev/null 2>&1; then COMPOSE=(docker compose); else COMPOSE=(docker-compose); fi
for tool in "${COMPOSE[0]}" tcpdump promtool nsenter curl; do
  command -v "$tool" >/dev/null || { echo "smoke.sh: needs $tool" >&2; exit 69; }
done

PROJECT=wa-smoke-$$
IMAGE=wa-sidecar:smoke-$$
# Kept from run to run: its layers are the build's cache.
BUILD=wa-sidecar-build:cache
MARKER=PLAINTEXT-MARKER
# What the pair may take to carry calls again after a fault is over: a link is given up after 11 s of silence, and
# dialled again at least once a second.
RECOVERS_S=20
# Of a final image.
MOST_BYTES=8000000

work=$(mktemp -d)
passed=0 failed=0
callers=()
files=(-f docker/compose.yaml)
[ ! -e /proc/sys/net/ipv4/tcp_rto_max_ms ] || files+=(-f docker/compose.linux-6.15.yaml)
export WA_IMAGE=$IMAGE WA_SECRET_PATH=$work/secret

compose() { "${COMPOSE[@]}" -p "$PROJECT" "${files[@]}" "$@"; }
id() { compose ps -a -q "$1" 2>/dev/null || compose ps -q "$1"; }

clean_up() {
  touch "$work/stop"
  if [ "${keep:-}" ]; then
    echo "left running: WA_IMAGE=$IMAGE WA_SECRET_PATH=$work/secret ${COMPOSE[*]} -p $PROJECT ${files[*]} down -v"
    return
  fi
  [ -z "${capture:-}" ] || kill "$capture" 2>/dev/null
  compose down -v --remove-orphans -t 1 >/dev/null 2>&1
  docker ps -aq --filter "name=$PROJECT" | xargs -r docker rm -f >/dev/null
  docker image rm "$IMAGE" >/dev/null 2>&1
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
[ "${1:-}" != --keep ] || keep=1

# --- Saying what was proved ---

pass() { passed=$((passed + 1)); echo "ok      $1"; }
fail() { failed=$((failed + 1)); echo "FAILED  $1"; [ -z "${2:-}" ] || sed 's/^/        /' <<<"$2"; }
# prove TEXT COMMAND...: the command succeeds.
prove() {
  local text=$1 said
  shift
  if said=$("$@" 2>&1); then pass "$text"; else fail "$text" "$said"; fi
}
# equal TEXT WANTED GOT
equal() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "wanted: $2"$'\n'"got: $3"; fi; }
never() { ! "$@"; }
section() { echo "--- $1 (${SECONDS}s)"; }
# within SECONDS COMMAND...: until it succeeds.
within() {
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || return 1
    sleep 0.2
  done
}

# --- The two apps ---

# calls N [PORT]: as the Webapp makes them, in its container; prints what came of them.
calls() { docker exec "$webapp" php /app/webapp.php 127.0.0.1 "${2:-6250}" "$1" "$RANDOM-$MARKER"; }
all_whole() { calls "$@" | grep -q "\"whole\":$1,"; }
# Callers that go on until they are told to stop; what came of their calls is added to a file.
load() {
  rm -f "$work/stop"
  for caller in 1 2; do
    while [ ! -e "$work/stop" ]; do calls 500 >>"$work/load.$caller" 2>/dev/null || sleep 0.2; done &
    callers+=($!)
  done
}
unload() {
  touch "$work/stop"
  ((${#callers[@]} == 0)) || wait "${callers[@]}"
  callers=()
}
# tally FIELD: of all callers.
tally() { cat "$work"/load.* 2>/dev/null | grep -o "\"$1\":[0-9]*" | cut -d: -f2 | paste -sd+ | sed 's/^$/0/' | bc; }
# opens FROM HOST PORT: whether a connection is accepted, from where the container FROM is.
opens() {
  docker exec "$(id "$1")" php -r \
    '$s = @fsockopen($argv[1], (int) $argv[2], $code, $why, 1); echo $s ? "open" : "closed: $why"; exit($s ? 0 : 1);' -- "$2" "$3"
}
address() { docker inspect -f "{{(index .NetworkSettings.Networks \"${PROJECT}_$2\").IPAddress}}" "$(id "$1")"; }
healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$(id "$1")")" = healthy ]; }
namespace() { readlink "/proc/$(field "$(id "$1")" .State.Pid)/ns/net"; }
field() { docker inspect -f "{{$2}}" "$1"; }
query() {
  docker exec "$(id webapp)" php -r 'echo file_get_contents("http://prometheus:9090/api/v1/" . $argv[1]);' -- "$1"
}

# --- What is tested ---

image() {
  section "the image"
  local version old new
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
  old=$(docker image inspect -f '{{.Id}}' "$BUILD" 2>/dev/null)
  local arguments=(-q -f docker/Dockerfile --build-arg "VERSION=$version")
  arguments+=(--build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)")
  if ! docker build "${arguments[@]}" --target build -t "$BUILD" . >"$work/build" 2>&1 ||
    ! docker build "${arguments[@]}" -t "$IMAGE" . >>"$work/build" 2>&1; then
    fail "docker build" "$(tail -n 30 "$work/build")"
    return 1
  fi
  pass "docker build"
  new=$(docker image inspect -f '{{.Id}}' "$BUILD")
  [ -z "$old" ] || [ "$old" = "$new" ] || docker image rm "$old" >/dev/null 2>&1

  local size
  size=$(field "$IMAGE" .Size)
  prove "its size is $size bytes, at most $MOST_BYTES" test "$size" -le $MOST_BYTES
  equal "its user is a number, and not root's" 65532:65532 "$(field "$IMAGE" .Config.User)"
  equal "its entry point is in exec form" '["/usr/bin/wa-sidecar"]' "$(field "$IMAGE" 'json .Config.Entrypoint')"
  equal "its health check is in exec form, by the binary's own probe" '["CMD","/usr/bin/wa-sidecar","health"]' \
    "$(field "$IMAGE" 'json .Config.Healthcheck.Test')"
  local label
  for label in title description licenses version revision; do
    label=org.opencontainers.image.$label
    prove "label $label: $(field "$IMAGE" "index .Config.Labels \"$label\"")" \
      test -n "$(field "$IMAGE" "index .Config.Labels \"$label\"")"
  done
  equal "the label's version is the binary's" "wa-sidecar $(field "$IMAGE" 'index .Config.Labels "org.opencontainers.image.version"')" \
    "$(docker run --rm "$IMAGE" --version)"

  docker create --name "$PROJECT-files" "$IMAGE" >/dev/null
  docker export "$PROJECT-files" | tar -t | grep -v '/$' | sort >"$work/files"
  docker rm "$PROJECT-files" >/dev/null
  # What the engine itself adds to every container, and what is expected: nothing else may be there.
  local others
  others=$(grep -vE '^(\.dockerenv|dev/(console|pts|shm)?|etc/(hostname|hosts|mtab|resolv\.conf|nsswitch\.conf)|usr/bin/wa-sidecar|lib(64)?/([a-z0-9_-]+/)?(ld-linux-[a-z0-9-]+|lib(c|gcc_s|m))\.so\.[0-9]+)$' "$work/files")
  equal "no shell and no other program: the binary, $(grep -c '\.so\.' "$work/files") libraries, nsswitch.conf" "" "$others"
}

secret() {
  section "the secret"
  docker run --rm "$IMAGE" keygen >"$work/secret"
  chmod 400 "$work/secret" && chown 65532:65532 "$work/secret"
  prove "the image makes a secret, and reads it as a file of mode 400 that is its user's" \
    docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges -v "$work/secret:/secret:ro" \
    -e WA_SECRET_FILE=/secret "$IMAGE" check coreapp --listen 0.0.0.0:7250 --upstream 127.0.0.1:6250
}

process_1() {
  section "process 1"
  docker run -d --name "$PROJECT-one" --read-only --cap-drop ALL --network none -v "$work/secret:/secret:ro" \
    -e WA_SECRET_FILE=/secret "$IMAGE" coreapp --listen 127.0.0.1:7250 --upstream 127.0.0.1:6250 >/dev/null
  within 10 eval '[ "$(docker inspect -f "{{.State.Health.Status}}" '"$PROJECT-one"')" = healthy ]' ||
    fail "a coreapp sidecar alone is healthy"
  local began=$SECONDS
  docker stop -t 30 "$PROJECT-one" >/dev/null
  equal "SIGTERM as process 1 ends it with exit code 0" 0 "$(field "$PROJECT-one" .State.ExitCode)"
  prove "at once, since nothing is open ($((SECONDS - began)) s)" test $((SECONDS - began)) -le 5
  prove "and in order: its log says draining, then stopped" \
    grep -qzE 'draining.*stopped' <(docker logs "$PROJECT-one" 2>&1)
  docker rm "$PROJECT-one" >/dev/null
}

up() {
  section "up"
  prove "Prometheus' rules hold" promtool check rules docker/alerts.yml
  prove "Prometheus' rules fire when they should, and not else" promtool test rules docker/alerts_test.yml
  # The namespaces and networks first, so that the capture has the pair's first packet. (Not `up --no-start`: Compose
  # 1.29 then forgets `network_mode` and puts apps and sidecars on the default network.)
  compose up -d webapp-pod coreapp-pod >"$work/up" 2>&1 || { fail "docker-compose up" "$(cat "$work/up")"; return 1; }
  bridge=br-$(docker network inspect -f '{{.Id}}' "${PROJECT}_link" | cut -c-12)
  tcpdump -U -i "$bridge" -w "$work/link.pcap" -s 0 2>"$work/tcpdump" &
  capture=$!
  within 10 grep -q 'listening on' "$work/tcpdump"
  compose up -d >"$work/up" 2>&1 || { fail "docker-compose up" "$(cat "$work/up")"; return 1; }
  pass "docker-compose up"
  webapp=$(id webapp)
  prove "both sidecars become healthy" eval 'within 30 healthy webapp-sidecar && within 30 healthy coreapp-sidecar'
  prove "a first call comes back, over a link to a name that only the engine's name service knows" within 30 all_whole 1
}

confinement() {
  section "confinement"
  local service c side
  for side in webapp coreapp; do
    equal "$side, its sidecar and $side-pod are in one network namespace, not the host's" "1 3" \
      "$(for service in $side $side-sidecar $side-pod; do namespace $service; done | grep -vxF "$(readlink /proc/self/ns/net)" |
        sort | uniq -c | awk '{ n++; of = $1 } END { print n, of }')"
  done
  for service in webapp-sidecar coreapp-sidecar; do
    c=$(id $service)
    equal "$service: read-only root, no capability, no new privileges, 32 MiB, 64 processes" \
      'true ["ALL"] ["no-new-privileges:true"] 33554432 64' \
      "$(field "$c" .HostConfig.ReadonlyRootfs) $(field "$c" 'json .HostConfig.CapDrop') $(field "$c" 'json .HostConfig.SecurityOpt') $(field "$c" .HostConfig.Memory) $(field "$c" .HostConfig.PidsLimit)"
    equal "$service: as the kernel sees it, user 65532, no effective capability, no new privileges" \
      'Uid:65532 CapEff:0000000000000000 NoNewPrivs:1' \
      "$(awk '/^(Uid|CapEff|NoNewPrivs):/ { printf "%s%s%s", s, $1, $2; s = " " }' "/proc/$(field "$c" .State.Pid)/status")"
  done
  equal "nothing is published to the host" "" "$(docker ps --filter "name=$PROJECT" --format '{{.Ports}}' | grep -- '->')"
  equal "on the link network are the two namespaces alone" "coreapp-pod webapp-pod" \
    "$(docker network inspect -f '{{range .Containers}}{{.Name}} {{end}}' "${PROJECT}_link" | grep -oE '(webapp|coreapp|prometheus)(-[a-z]+)?' | sort | paste -sd' ')"
}

isolation() {
  section "isolation"
  local port network ip
  for port in 6250 6251 6252 6253; do
    prove "to compare: Coreapp and the Webapp's sidecar take port $port on their own loopback" \
      eval "opens coreapp 127.0.0.1 $port && opens webapp 127.0.0.1 $port"
  done
  prove "to compare: the Webapp's side reaches the sealed port on the link network" opens webapp "$(address coreapp-pod link)" 7250
  for network in coreapp link; do
    ip=$(address coreapp-pod $network)
    for port in 6250 6251 6252 6253; do
      prove "the Webapp's namespace cannot connect to Coreapp: port $port on the network $network" never opens webapp "$ip" $port
    done
  done
  prove "nor to Coreapp's network at all: the sealed port neither" never opens webapp "$(address coreapp-pod coreapp)" 7250
  for network in webapp link; do
    prove "Coreapp's namespace cannot connect to the Webapp: port 6250 on the network $network" \
      never opens coreapp "$(address webapp-pod $network)" 6250
  done
  prove "nor to the Webapp's network at all: the metrics neither" never opens coreapp "$(address webapp-pod webapp)" 9464
  local stranger=(docker run --rm --name "$PROJECT-stranger" --network "${PROJECT}_webapp" --entrypoint php php:8.2-cli
    -r '$s = @fsockopen($argv[1], (int) $argv[2], $code, $why, 2); exit($s ? 0 : 1);' --)
  prove "to compare: another container of the Webapp's network reaches the sidecar's metrics" "${stranger[@]}" webapp-sidecar 9464
  prove "but not the sidecar's way to Coreapp, port 6250: that is on loopback" never "${stranger[@]}" webapp-sidecar 6250
  prove "nor the sealed port: it is not on the link network" never "${stranger[@]}" "$(address coreapp-pod link)" 7250
}

through() {
  section "calls"
  # What the capture must not have is there to be found: on the loopback that app and sidecar share it is in the clear.
  nsenter -t "$(field "$(id webapp)" .State.Pid)" -n tcpdump -U -i lo -w "$work/lo.pcap" -s 0 2>"$work/tcpdump-lo" &
  local lo=$!
  within 10 grep -q 'listening on' "$work/tcpdump-lo"
  local said
  said=$(calls 1000)
  prove "1,000 calls came back whole: $said" grep -q '"whole":1000,"failed":0,"cut":0,"short":0,"wrong":0' <<<"$said"
  local port
  for port in 6251 6252 6253; do prove "and 100 on port $port" all_whole 100 $port; done
  sleep 0.5
  kill "$lo" && wait "$lo"
  kill "$capture" && wait "$capture"
  capture=
  local link_bytes
  link_bytes=$(stat -c %s "$work/link.pcap")
  prove "to compare: on the shared loopback the marker is found, $(grep -ao "$MARKER" "$work/lo.pcap" | wc -l) times" grep -aq "$MARKER" "$work/lo.pcap"
  prove "on the link network it is not, in $link_bytes captured bytes" never grep -aq "$MARKER" "$work/link.pcap"
  prove "which carried the calls: more than the answers' bytes" test "$link_bytes" -gt "$(grep -o '"bytes":[0-9]*' <<<"$said" | cut -d: -f2)"
  local toward
  for toward in dst src; do
    equal "the first bytes $([ $toward = dst ] && echo to || echo from) the sealed port are a handshake of 512" 512 \
      "$(tcpdump -nn -r "$work/link.pcap" "tcp $toward port 7250" 2>/dev/null | grep -o 'length [1-9][0-9]*' | head -1 | cut -d' ' -f2)"
  done
  equal "no other port's TCP carried a byte there" "" \
    "$(tcpdump -nn -r "$work/link.pcap" 'tcp and not port 7250' 2>/dev/null | grep -v 'length 0$' | head -3)"
}

prometheus() {
  section "Prometheus"
  prove "its own API says that both sidecars are up" within 30 targets_up
  local side
  for side in webapp coreapp; do
    prove "and has the $side sidecar's count of the calls, 1000 or more" within 15 streams_opened $side
  done
  prove "and has its eight rules loaded" eval '[ "$(query rules | grep -o "\"type\":\"alerting\"" | wc -l)" = 8 ]'
}
targets_up() { query 'query?query=up' | grep -o '"value":\[[0-9.]*,"1"\]' | wc -l | grep -qx 2; }
streams_opened() {
  local value
  value=$(query "query?query=wa_sidecar_streams_opened_total%7Binstance%3D%22$1-sidecar%3A9464%22%7D" |
    grep -o '"value":\[[0-9.]*,"[0-9]*"\]' | grep -o '"[0-9]*"\]$' | tr -d '"]')
  [ "${value:-0}" -ge 1000 ]
}

memory() {
  section "memory"
  local clients=8 client service c peak
  for client in $(seq $clients); do calls 250 >"$work/calls.$client" & callers+=($!); done
  unload
  equal "$clients callers at a time, 250 calls each, all whole" $((clients * 250)) \
    "$(cat "$work"/calls.* | grep -o '"whole":[0-9]*' | cut -d: -f2 | paste -sd+ | bc)"
  for service in webapp-sidecar coreapp-sidecar; do
    c=$(id $service)
    peak=$(awk '/^VmHWM/ { print $2 }' "/proc/$(field "$c" .State.Pid)/status")
    prove "$service lives in its 32 MiB: $peak KiB at most, not restarted, not killed" eval \
      '[ '"$peak"' -lt 32768 ] && [ "$(field '"$c"' .State.OOMKilled)$(field '"$c"' .RestartCount)" = false0 ]'
  done
}

# --- Faults ---

# recovered TEXT: calls come back whole again, and soon.
recovered() {
  local began=$SECONDS
  if within $RECOVERS_S all_whole 20; then
    pass "$1: calls come back $((SECONDS - began)) s after"
  else
    fail "$1: no calls within $RECOVERS_S s" "$(calls 3 2>&1; compose ps 2>&1; compose logs --no-color --tail 5 2>&1)"
  fi
}
# As a crash: from outside the engine, which then does as the restart policy says. (`docker kill` is an order, after
# which it restarts nothing.)
crash() {
  local c pid
  c=$(id "$1") pid=$(field "$(id "$1")" .State.Pid)
  kill -KILL "$pid"
  within 15 eval '[ "$(field '"$c"' .State.Running)" = true ] && [ "$(field '"$c"' .State.Pid)" != '"$pid"' ]'
}

# An engine that freezes a container while it starts a process in it (`docker exec`, a health check) may wait for ever,
# so: nobody calls meanwhile from a Webapp that is to be paused, and a health check has just been done. Should it happen
# all the same, the kernel is asked to thaw it.
paused() {
  local c last
  c=$(id "$1")
  last=$(last_probe "$c")
  [ -z "$last" ] || within 10 eval '[ "$(last_probe '"$c"')" != "'"$last"'" ]'
  docker pause "$c" >/dev/null
  sleep 5
  timeout 10 docker unpause "$c" >/dev/null && return
  echo "note    the engine hangs in its own unpause of $1; it is thawed and killed instead"
  thaw "$c" && kill -KILL "$(field "$c" .State.Pid)"
}
last_probe() { docker inspect -f '{{with .State.Health}}{{range .Log}}{{.End}};{{end}}{{end}}' "$1"; }
thaw() {
  echo THAWED >"/sys/fs/cgroup/freezer/docker/$1/freezer.state" || echo 0 >"/sys/fs/cgroup/system.slice/docker-$1.scope/cgroup.freeze"
} 2>/dev/null

faults() {
  local service c
  for service in webapp webapp-sidecar coreapp-sidecar coreapp prometheus; do
    section "faults: $service"
    c=$(id $service)
    [ $service = webapp ] || load
    sleep 1
    paused $service
    recovered "$service was paused for 5 s"
    crash $service || fail "$service is started again by the engine after a crash"
    recovered "$service was killed"
    docker kill "$c" >/dev/null
    equal "$service stays down after docker kill" exited "$(field "$c" .State.Status)"
    docker start "$c" >/dev/null
    recovered "$service was killed by docker kill, and started"
    docker restart -t 30 "$c" >/dev/null
    recovered "$service was restarted"
    unload
    [ $service = webapp ] || judged $service
  done
  section "faults: the namespaces' owners"
  local side
  for side in webapp coreapp; do
    c=$(id $side-pod)
    paused $side-pod
    recovered "$side-pod was paused for 5 s"
    # The trap, as compose.yaml says: the namespace goes with its owner.
    crash $side-pod || fail "$side-pod is started again by the engine after a crash"
    stranded $side "was killed"
    docker restart "$c" >/dev/null
    stranded $side "was restarted"
  done
  section "faults: networks"
  load
  away webapp-pod link
  away coreapp-pod link coreapp-sidecar
  away webapp-pod webapp webapp webapp-sidecar
  away coreapp-pod coreapp coreapp coreapp-sidecar
  away prometheus webapp prometheus
  away prometheus coreapp prometheus
  unload
  prove "Prometheus sees both sidecars again" within 60 targets_up
  for service in webapp webapp-sidecar coreapp coreapp-sidecar; do
    prove "$service has no network of its own to be taken from" never docker network disconnect "${PROJECT}_link" "$(id $service)"
  done
  judged "networks"
}
# judged WHAT: there were calls meanwhile, and of those that were cut short none looked whole. But a Coreapp that is
# killed in mid-answer ends its connection as if that were all: that is the app's own, and no sidecar can tell.
judged() {
  local short
  [ "$1" = coreapp ] && short=0 || short=$(tally short)
  prove "$1: of the calls meanwhile $(tally whole) were whole, $(tally failed) failed, $(tally cut) broke off visibly" \
    test "$(tally whole)" -gt 0
  equal "$1: none that was cut short looked whole, none was wrong" "0 0" "$short $(tally wrong)"
  rm -f "$work"/load.*
}
# The owner of a namespace came back with a new one: the old one is left to app and sidecar, until they are restarted.
stranded() {
  prove "$1-pod $2: its namespace is a new one, and $1 and its sidecar are left in the old one" eval \
    '[ "$(namespace '"$1"'-pod)" != "$(namespace '"$1"')" ] && [ "$(namespace '"$1"')" = "$(namespace '"$1"'-sidecar)" ]'
  compose restart -t 5 "$1" "$1-sidecar" >/dev/null 2>&1
  recovered "$1-pod $2, then $1 and $1-sidecar were restarted"
}
# away SERVICE NETWORK ALIAS...: taken off the network for 5 s.
away() {
  local c network=${PROJECT}_$2 aliases=()
  c=$(id "$1")
  for alias in "${@:3}"; do aliases+=(--alias "$alias"); done
  docker network disconnect "$network" "$c"
  sleep 5
  docker network connect "${aliases[@]}" "$network" "$c"
  recovered "$1 was off the network $2 for 5 s"
}

# docker stop while callers call: what is open is finished, nothing is cut, exit code 0.
drain() {
  section "drain"
  local service c
  for service in webapp-sidecar coreapp-sidecar; do
    c=$(id $service)
    load
    sleep 1
    docker stop -t 30 "$c" >/dev/null
    equal "$service ends with exit code 0 when stopped under load" 0 "$(field "$c" .State.ExitCode)"
    docker start "$c" >/dev/null
    recovered "$service was stopped and started"
    unload
    equal "no call of $(tally whole) was cut in mid-answer by that, none looked whole and was not" "0 0 0" \
      "$(tally cut) $(tally short) $(tally wrong)"
    rm -f "$work"/load.*
  done
}

image && secret && process_1 && up && {
  confinement
  isolation
  through
  prometheus
  memory
  drain
  faults
}
section "end"
echo "$passed passed, $failed failed"
((failed == 0))
