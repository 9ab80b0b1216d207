#!/usr/bin/env bash
# Prints a directory with the RocksDB that its makers built, of the version in Cargo.lock, for ROCKSDB_LIB_DIR; exits 1 with a reason if there is none.
#
#   dir=$(scripts/rocksdb.sh) && export ROCKSDB_LIB_DIR=$dir LD_LIBRARY_PATH=$dir
#
# Compiling RocksDB takes half as long as all of the rest. Maven Central has it as a library with the whole C interface, made for Java. What is linked
# so finds it only where LD_LIBRARY_PATH says: it is for tests, not for what is installed elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "RocksDB is compiled from source: $1" >&2; exit 1; }

version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = ".*+\(.*\)"$/\1/p}' Cargo.lock)
case $(uname -sm):$version in
'Linux x86_64:11.8.1') sum=628ed387887f4a431df480857954df2a28b4389bfe24858ccdec611cabf65dbf ;;
*) fail "no checksum is known of version $version for $(uname -sm)" ;;
esac

dir=${XDG_CACHE_HOME:-$HOME/.cache}/millrace/rocksdb-$version
if [ ! -e "$dir/librocksdb.so" ]; then
    command -v mvn >/dev/null || fail 'mvn is not installed'
    mkdir -p "$dir"
    work=$(mktemp -d "$dir/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
        -Dartifact="org.rocksdb:rocksdbjni:$version" -DoutputDirectory="$work" >"$work/log" 2>&1 || fail "it can't be fetched"
    jar=$work/rocksdbjni-$version.jar
    [ "$(sha256sum "$jar" | cut -d ' ' -f 1)" = "$sum" ] || fail 'what was fetched has another checksum'
    python3 -m zipfile -e "$jar" "$work/jar" || fail "it can't be unpacked"
    mv "$work/jar/librocksdbjni-linux64.so" "$dir/librocksdb.so"
fi
echo "$dir"
