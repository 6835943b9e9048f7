#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Are all C files as clang-format 14 (Debian 12) would write them?  Other versions differ in details; exit status 77
# (skipped) without version 14.
set -eu
cd "$(dirname "$0")/.."
for tool in clang-format-14 clang-format; do
    case $($tool --version 2>/dev/null || true) in
    *' version 14.'*) exec find src include tests -name '*.[ch]' -exec "$tool" --dry-run -Werror {} + ;;
    esac
done
echo "SKIP: clang-format 14 is not installed"
exit 77
