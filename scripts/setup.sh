#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that a build or the tests need and that are missing; where it may not, it names them.
#
#   scripts/setup.sh build    what the compiler needs: exits 1 if something is missing and can't be installed
#   scripts/setup.sh test     what the wider tests use (a real Kafka, psql, Python drivers): only warns
#
# When all is there it takes a few milliseconds and asks nobody.
set -euo pipefail

what=${1:-build}
missing=()

need() { missing+=("$1"); }
have() { command -v "$1" >/dev/null 2>&1; }
library() { # library PATTERN: whether there is one of this name (libclang-cpp is another one than libclang)
    compgen -G "/usr/lib/llvm-*/lib/$1" >/dev/null || compgen -G "/usr/lib/*/$1" >/dev/null
}
header() { # header FILE: whether the C compiler finds it
    echo "#include <$1>" | cc -E -x c - >/dev/null 2>&1
}

case $what in
build)
    # cc and c++ build RocksDB, librdkafka, zstd and lz4; libclang generates RocksDB's bindings; OpenSSL and zlib are linked.
    have cc || need gcc
    have c++ || need g++
    have make || need make
    have pkg-config || need pkg-config
    [ -n "${LIBCLANG_PATH:-}" ] || library 'libclang.so*' || library 'libclang-[0-9]*.so*' || need libclang-dev
    if have cc; then
        header openssl/ssl.h || need libssl-dev
        header zlib.h || need zlib1g-dev
    else
        need libc6-dev; need libssl-dev; need zlib1g-dev
    fi
    ;;
test)
    java_major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1 || true)
    [ "${java_major:-0}" -ge 17 ] || need openjdk-17-jre-headless
    have mvn || need maven
    have psql || need postgresql-client
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || need python3-venv
    ;;
*)
    echo "usage: $0 [build|test]" >&2
    exit 2
    ;;
esac

if [ "$what" = build ] && ! have cargo; then
    echo "Rust is missing: install it with rustup (https://rustup.rs) and try again" >&2
    exit 1
fi
[ ${#missing[@]} -gt 0 ] || exit 0

install=()
if have apt-get; then
    if [ "$(id -u)" = 0 ]; then
        install=(env DEBIAN_FRONTEND=noninteractive apt-get)
    elif have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        install=(sudo env DEBIAN_FRONTEND=noninteractive apt-get)
    fi
fi
if [ ${#install[@]} -gt 0 ]; then
    echo "installing ${missing[*]}" >&2
    if "${install[@]}" update -qq >&2 && "${install[@]}" install -y -qq --no-install-recommends "${missing[@]}" >&2; then
        exit 0
    fi
fi

echo "missing packages (Debian's names): ${missing[*]}" >&2
echo "install them with: sudo apt-get install ${missing[*]}" >&2
if [ "$what" = test ]; then
    echo "going on without them: the tests that need them say that they are skipped" >&2
    exit 0
fi
exit 1
