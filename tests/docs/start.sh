#!/usr/bin/env bash
# Follows docs/start.md; see README.md. SAGAZ is the executable, BUILD the folder of its build.
source "$(dirname "${BASH_SOURCE[0]}")/follow.sh"

follow_begin docs_start
# The source's folder as the document sees it: with a release that is built.
mkdir -p "$work/tree/build"
ln -s "$BUILD" "$work/tree/build/release"
follow docs/start.md
chaos_end
