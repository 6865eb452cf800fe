#!/usr/bin/env bash
# `cargo check` for platforms that are not here, on Debian and its relatives (as root, with debootstrap; 2.5 GB):
#   tests/platforms/run.sh [TARGET...]
# The library and the command for Windows, macOS, 64-bit Linux on ARM (Jetson, Raspberry Pi) and Android. Nothing is meant to build for wasm32
# yet: the readers and the server need files, threads and sockets. The standard library of each is checked from its source with the compiler (-Zbuild-std), both from Debian unstable in a folder of its own, since a stable system's compiler
# is too old and one from rustup has no other platform's library. That the Rust code is right there is all it says: nothing is linked
# or run, and C and assembly (of zstd, of psm), for which a cross-compiler would be needed, are left out. Everything lies in a temporary folder, or in
# PLATFORMS_DIR, where a second run finds it.
set -euo pipefail
cd "$(dirname "$0")/../.."

targets=("$@")
[ ${#targets[@]} -gt 0 ] ||
    targets=(x86_64-pc-windows-msvc aarch64-apple-darwin aarch64-unknown-linux-gnu aarch64-linux-android)

if [ -n "${PLATFORMS_DIR:-}" ]; then
    mkdir -p "$PLATFORMS_DIR"
    folder="$(cd "$PLATFORMS_DIR" && pwd)"
else
    folder="$(mktemp -d)"
    trap 'rm -rf "$folder"' EXIT
fi
root="$folder/sid"

if ! [ -e "$root/usr/bin/cargo" ]; then
    debootstrap --variant=minbase --include=rustc,cargo,rust-src,gcc,libc6-dev,ca-certificates sid "$root" \
        >"$folder/debootstrap.log" || { tail -n 5 "$folder/debootstrap.log" >&2; exit 1; }
fi
chroot "$root" rustc --version

# Certificates as this machine trusts them, and the crates that it has already.
bundle="${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}"
cp -fL "$bundle" "$root/etc/ssl/certs/here.crt"
cp -fL /etc/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/cargo/registry"
for part in index cache; do
    [ ! -d "${CARGO_HOME:-$HOME/.cargo}/registry/$part" ] ||
        cp -a --update "${CARGO_HOME:-$HOME/.cargo}/registry/$part" "$root/cargo/registry/"
done
# Says that zstd is installed wherever it is asked: nothing is linked.
cat >"$root/usr/local/bin/pkg-config" <<'END'
#!/bin/sh
case "$*" in *--modversion*) echo 1.5.7 ;; *--version*) echo 1.8.1 ;; *) echo ;; esac
END
# Compilers and archivers of C that leave what they are asked for empty.
cat >"$root/usr/local/bin/no-c" <<'END'
#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in
        -o) shift; : >"$1" ;;
        [-/]Fo*) : >"${1#?Fo}" ;;
        [-/][oO][uU][tT]:*) : >"${1#?????}" ;;
        *.a) : >"$1" ;;
    esac
    shift
done
END
chmod +x "$root/usr/local/bin/pkg-config" "$root/usr/local/bin/no-c"

rm -rf "$root/advect"
mkdir -p "$root/advect"
git ls-files -z | tar --null --files-from=- --create | tar --extract --directory="$root/advect"

failed=()
for target in "${targets[@]}"; do
    from="$SECONDS"
    if chroot "$root" env --chdir=/advect CARGO_HOME=/cargo CARGO_TARGET_DIR=/target CARGO_HTTP_CAINFO=/etc/ssl/certs/here.crt \
        CARGO_TERM_COLOR=never RUSTC_BOOTSTRAP=1 ZSTD_SYS_USE_PKG_CONFIG=1 PKG_CONFIG_ALLOW_CROSS=1 TARGET_CC=no-c TARGET_CXX=no-c TARGET_AR=no-c \
        cargo check --locked --quiet --lib --bin advect -Zbuild-std=std,panic_abort --target "$target"; then
        echo "$target: ok, $((SECONDS - from)) s"
    else
        echo "$target: FAILED after $((SECONDS - from)) s"
        failed+=("$target")
    fi
done
[ ${#failed[@]} -eq 0 ] || { printf 'FAILED: %s\n' "${failed[@]}"; exit 1; }
