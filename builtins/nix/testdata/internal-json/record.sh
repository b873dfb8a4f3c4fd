#!/bin/sh
# record.sh VERSION FOLDER OUT: what the nix whose programs are in FOLDER says in
# the form internal-json, into OUT. As root, on a machine with sshd. The archives
# beside this hold what three versions said, without most of the lines that tell the
# bytes of one path.
set -eu
if [ "${4-}" != inside ]; then
	exec unshare --mount sh "$0" "$1" "$2" "$3" inside
fi
mount -t tmpfs -o mode=755 tmpfs /nix
work=$(mktemp -d) out=$3 bin=$2
mkdir -p "$out" "$work/flake" "$work/home" /run/sshd
cat >"$work/flake/flake.nix" <<'FLAKE'
{
  outputs = { self }:
    let
      raw = name: script: rawWith { } name script;
      rawWith = more: name: script: builtins.derivation (more // {
        inherit name;
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-euc" script ];
        PATH = "/usr/bin:/bin";
      });
      phases = name: deps: script: raw name ''
        : ${deps}
        phase() { printf '@nix { "action": "setPhase", "phase": "%s" }\n' "$1" >&"''${NIX_LOG_FD:-2}"; }
        phase unpackPhase; echo unpacking
        phase buildPhase; printf '\033[32mgreen\033[0m\rredrawn\n'; echo warning: fake
        ${script}
      '';
      lib = phases "lib-1.0" "" "echo lib > $out";
      fail = phases "fail-1.0" "" "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line-$i; done; exit 3";
      fail2 = phases "fail2-1.0" "" "echo two; kill -9 $$";
      fail3 = raw "fail3-1.0" "true";
      first = phases "first-1.0" "" "sleep 2; echo gives up; exit 3";
      long = phases "long-1.0" "" "sleep 100";
    in {
      packages.x86_64-linux = {
        inherit lib fail;
        default = phases "hello-1.0" "${lib}" "head -c 3000000 /dev/urandom > $out";
        both = phases "both-1.0" "${fail} ${fail2} ${lib} ${fail3}" "echo > $out";
        slow = phases "slow-1.0" "" "sleep 100";
        silent = phases "silent-1.0" "" "sleep 100";
        among = phases "among-1.0" "${long} ${first} ${lib}" "echo > $out";
        mismatch = rawWith {
          outputHash = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        } "mismatch-1.0" "echo downloading; echo hi > $out";
        trace = builtins.trace "a trace" (builtins.throw "boom");
      };
    };
}
FLAKE
for key in host user; do ssh-keygen -q -t ed25519 -N '' -f "$work/$key"; done
printf '%s\n' "ListenAddress 127.0.0.1" "Port 22922" "HostKey $work/host" "AuthorizedKeysFile $work/user.pub" \
	"PidFile $work/pid" "StrictModes no" >"$work/sshd_config"
/usr/sbin/sshd -f "$work/sshd_config"
export PATH="$bin:$PATH" HOME="$work/home" XDG_CACHE_HOME="$work/home"
export NIX_SSHOPTS="-q -i $work/user -p 22922 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
export NIX_CONFIG="substituters =
sandbox = false
build-users-group =
experimental-features = nix-command flakes"
flake="path:$work/flake"
form="--log-format internal-json"
drv() { nix eval --raw "$flake#$1.drvPath" 2>/dev/null; }
says() { # NAME COMMAND...: it may fail
	name=$1
	shift
	"$@" 2>"$out/$name" >/dev/null || true
}
says build nix-store $form --realise "$(drv default)"
path=$(nix-store --query --outputs "$(drv default)") lib=$(nix-store --query --outputs "$(drv lib)")
says fail nix-store $form --realise "$(drv both)" --keep-going
says timeout nix-store $form --realise "$(drv slow)" --timeout 1
says silent nix-store $form --realise "$(drv silent)" --max-silent-time 1
says among nix-store $form --realise "$(drv among)" --max-jobs 3
says mismatch nix-store $form --realise "$(drv mismatch)"
says eval nix eval $form "$flake#trace.x"
says dry nix build $form --no-link --dry-run --json "$flake#fail"
says copy nix copy $form --no-check-sigs --to "ssh-ng://root@127.0.0.1?remote-program=$bin/nix-daemon&remote-store=$work/store" "$path" "$lib"
nix copy --no-check-sigs --to "file://$work/cache" "$path"
nix-store --delete "$path"
says fetch nix-store $form --realise "$path" --option substituters "file://$work/cache" --option require-sigs false
nix-daemon &
daemon=$!
until [ -S /nix/var/nix/daemon-socket/socket ]; do sleep 0.1; done
NIX_REMOTE=daemon says fail-by-daemon nix-store $form --realise "$(drv both)" --keep-going
kill "$daemon" "$(cat "$work/pid")"
