#!/bin/sh
# Compiles the kernel's relay plane: natkit/relay/relay.bpf.o, or the file that is named.  The bytes
# are the same on every machine that has Debian 12's clang-14, llvm-14, libbpf-dev and linux-libc-dev.
set -eu
cd "$(dirname "$0")/.."
out=${1:-natkit/relay/relay.bpf.o}
# Where linux-libc-dev has <asm/types.h>.
include=/usr/include/$(uname -m)-linux-gnu
clang-14 -target bpfel -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Wno-sign-compare \
  -ffile-prefix-map="$PWD"=. -I"$include" -c natkit/relay/relay.bpf.c -o "$out"
# What remains is the program and BTF, by which libbpf knows the tables.
llvm-strip-14 -g "$out"
