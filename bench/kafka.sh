#!/usr/bin/env bash
# Starts one Apache Kafka (KRaft, one node, storage in a temporary directory) and prints its address; runs until it is stopped.
# Jars are those of the Kafka tests, fetched once by Maven.  usage: bench/kafka.sh [PORT]
set -euo pipefail
cd "$(dirname "$0")/.."
port=${1:-19092}
jars=${XDG_CACHE_HOME:-$HOME/.cache}/millrace/kafka-jars
pom=tests/kafka/pom.xml
if ! cmp -s "$jars/complete" "$pom"; then
    rm -rf "$jars"
    mvn -q -B -f "$pom" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$jars"
    cp "$pom" "$jars/complete"
fi
directory=$(mktemp -d -t millrace-kafka-XXXXXX)
trap 'rm -rf "$directory"' EXIT
cat > "$directory/server.properties" <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$directory/storage
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
P
cat > "$directory/log4j.properties" <<P
log4j.rootLogger=WARN, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=[%d] %p %m (%c)%n
P
java=(java -Xmx1g "-Dlog4j.configuration=file:$directory/log4j.properties" -cp "$jars/*")
"${java[@]}" kafka.tools.StorageTool format -t bWlsbHJhY2UtYmVuY2gtMQ -c "$directory/server.properties" >/dev/null
echo "127.0.0.1:$port"
"${java[@]}" kafka.Kafka "$directory/server.properties"
