#!/bin/sh
# A real Apache Kafka for tests: one KRaft node on free loopback ports, in a folder of the caller's.
#
#   kafka.sh fetch           brings the jars from Maven Central into the user's cache, once
#   kafka.sh available       0 when `start` can work here without a network
#   kafka.sh start DIR       starts a node in DIR; prints "BOOTSTRAP PID" when it answers
#   kafka.sh restart DIR     starts it again on the same ports and data, after a kill
#   kafka.sh stop DIR        stops the node of DIR by its pid; no error when it is gone already
#
# DIR holds config, data, log and pid; the caller removes it. SAGAZ_KAFKA_PROPERTIES may hold more
# lines for server.properties. Needs Java 17 or later; Maven for `fetch` only.
set -eu

version=4.3.1
plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sagaz/kafka-$version

die() { echo "kafka.sh: $*" >&2; exit 1; }

fetch() {
    [ ! -e "$cache/complete" ] || return 0
    command -v mvn >/dev/null || die "Maven is missing (apt-get install maven)"
    mkdir -p "$cache"
    # One fetches, the others wait for it.
    exec 9>"$cache/lock"
    flock 9
    [ ! -e "$cache/complete" ] || return 0
    cat >"$cache/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sagaz.test</groupId><artifactId>kafka-runtime</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
    mvn -B -q -f "$cache/pom.xml" "$plugin:copy-dependencies" -DincludeScope=runtime \
        -DoutputDirectory="$cache/libs" >"$cache/fetch.log" 2>&1 ||
        { cat "$cache/fetch.log" >&2; die "cannot fetch Kafka $version"; }
    ls "$cache"/libs/kafka_2.13-"$version".jar >/dev/null || die "the fetched jars have no Kafka"
    : >"$cache/complete"
}

available() { command -v java >/dev/null && [ -e "$cache/complete" ]; }

# Two ports that nobody listens on. Another process may take one before Kafka binds it: `start`
# then tries again with others.
free_ports() {
    python3 -c 'import socket
s = [socket.socket() for _ in range(2)]
for x in s: x.bind(("127.0.0.1", 0))
print(*(x.getsockname()[1] for x in s))'
}

# What StorageTool random-uuid gives, without a second of a JVM.
cluster_id() {
    python3 -c 'import base64, uuid
print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22].replace("-", "_"))'
}

configure() {
    dir=$1 client=$2 controller=$3
    cat >"$dir/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$client,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$client,CONTROLLER://127.0.0.1:$controller
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$dir/data
auto.create.topics.enable=false
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
num.partitions=4
message.max.bytes=4194304
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.hours=-1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
${SAGAZ_KAFKA_PROPERTIES:-}
CONF
    echo "127.0.0.1:$client" >"$dir/bootstrap"
}

# Kafka's own scripts are not in the jars; this is what they come down to.
java_run() {
    heap=$1; shift
    java "-Xmx$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$cache/libs/*" "$@"
}

launch() {
    dir=$1
    : >"$dir/log"
    # The node must not keep the caller's pipes open, nor the cache's lock.
    java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$cache/libs/*" \
        -Dorg.slf4j.simpleLogger.showDateTime=true \
        kafka.Kafka "$dir/server.properties" >"$dir/log" 2>&1 </dev/null 9>&- &
    echo $! >"$dir/pid"
}

# Started is a fact of its log; a dead process or a minute without it is a failure.
await() {
    dir=$1 tries=600
    while [ $tries -gt 0 ]; do
        ! grep -q 'Kafka Server started' "$dir/log" || return 0
        kill -0 "$(cat "$dir/pid")" 2>/dev/null || return 1
        sleep 0.1
        tries=$((tries - 1))
    done
    return 1
}

start() {
    dir=$1
    fetch
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    [ ! -e "$dir/pid" ] || ! kill -0 "$(cat "$dir/pid")" 2>/dev/null ||
        die "already running in $dir"
    attempt=0
    while [ $attempt -lt 3 ]; do
        attempt=$((attempt + 1))
        rm -rf "$dir/data"
        # shellcheck disable=SC2046
        configure "$dir" $(free_ports)
        java_run 128m kafka.tools.StorageTool format --standalone --cluster-id "$(cluster_id)" \
            --config "$dir/server.properties" >"$dir/format.log" 2>&1 ||
            { cat "$dir/format.log" >&2; die "cannot format the storage"; }
        launch "$dir"
        if await "$dir"; then
            echo "$(cat "$dir/bootstrap") $(cat "$dir/pid")"
            return 0
        fi
        stop "$dir"
        grep -q 'Address already in use' "$dir/log" || break
    done
    tail -20 "$dir/log" >&2
    die "Kafka did not start; its log is $dir/log"
}

restart() {
    dir=$(cd "$1" && pwd)
    stop "$dir"
    launch "$dir"
    await "$dir" || { tail -20 "$dir/log" >&2; die "Kafka did not start again"; }
    echo "$(cat "$dir/bootstrap") $(cat "$dir/pid")"
}

# By its pid only, and only while that pid is still our Kafka. Killed: nobody needs its data again.
stop() {
    dir=$1
    [ -e "$dir/pid" ] || return 0
    pid=$(cat "$dir/pid")
    if [ -e "/proc/$pid" ] &&
        tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "$dir/server.properties"; then
        kill -9 "$pid" 2>/dev/null || true
        tries=100
        while [ $tries -gt 0 ] && kill -0 "$pid" 2>/dev/null; do
            sleep 0.1
            tries=$((tries - 1))
        done
    fi
    rm -f "$dir/pid"
}

case ${1:-} in
    fetch) fetch ;;
    available) available ;;
    start) start "${2:?DIR}" ;;
    restart) restart "${2:?DIR}" ;;
    stop) stop "$(cd "${2:?DIR}" && pwd)" ;;
    *) sed -n '2,/^set/{/^#/p}' "$0"; exit 2 ;;
esac
