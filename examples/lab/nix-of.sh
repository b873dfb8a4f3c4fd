#!/bin/sh
# nix-of.sh SUITE FOLDER: the nix of another Debian suite, with all that it needs, below
# FOLDER: its programs are in FOLDER/usr/bin. trixie has 2.26, sid 2.34. As root, on
# Debian. apt checks what comes; nothing of the machine's own is altered, but that
# patchelf is installed. The programs run where they were unpacked and nowhere else.
set -eu
suite=$1 folder=$(mkdir -p "$2" && cd "$2" && pwd)
command -v patchelf >/dev/null || apt-get -qq install --yes --no-install-recommends patchelf >/dev/null
from=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources)
apt=$folder/.apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
: >"$apt/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $suite main" >"$apt/sources.list"
get() {
	apt-get -qq -o Dir::State="$apt" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" \
		-o Dir::Cache="$apt/cache" -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::Etc::preferencesparts=/dev/null -o APT::Sandbox::User=root -o Acquire::Languages=none "$@" >/dev/null
}
get update
get install --yes --no-install-recommends --download-only nix-bin
for package in "$apt"/cache/archives/*.deb; do dpkg -x "$package" "$folder"; done
rm -r "$apt"
lib=$folder/usr/lib/$(uname -m)-linux-gnu
patchelf --set-interpreter "$lib"/ld-linux-*.so.? --force-rpath --set-rpath "$lib:$lib/nix" "$folder/usr/bin/nix"
"$folder/usr/bin/nix" --version
