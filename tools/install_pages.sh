#!/bin/sh
# install_pages.sh FATHOM - what the program prints about itself, put where man and shells look.
# Called by `meson install`, which says where that is.
set -eu
program=$1
share=$MESON_INSTALL_DESTDIR_PREFIX/share
mkdir -p "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/site-functions" \
    "$share/fish/vendor_completions.d"
"$program" man -q -o "$share/man/man1"
"$program" completion bash >"$share/bash-completion/completions/fathom"
"$program" completion zsh >"$share/zsh/site-functions/_fathom"
"$program" completion fish >"$share/fish/vendor_completions.d/fathom.fish"
