package nix

// An activation goes on without its connection. systemd has it as a unit. Where that
// does not run the host, as on a Mac, it is a process in a session of its own, with
// what is kept of it, root's only, in a folder beside the watchdog's, by the name of
// the operation:
//
//	pid       a link to its process, which whoever makes it is
//	boot      a link to the boot that it is in: what has none did not begin
//	out, err  what it printed
//	ended     a link to its exit status
const activationCommon = watchdogCommon + `
act=${dir%/*}/activation-$op
at() { readlink "$act/$1" 2>/dev/null; }
atwork() { kill -0 "$(at pid)" 2>/dev/null; }
follow() {
  exec 4<"$act/out" 5<"$act/err"
  while :; do
    working=
    if atwork; then working=1; fi
    status=$(at ended)
    cat <&4; cat <&5 >&2
    [ -z "$status" ] || exit "$status"
    [ "$working" ] || { echo "the activation was killed" >&2; exit 137; }
    moment
  done
}
`

// activateScript activates a system, and never without the watchdog. Its arguments
// are the folder, the token ("" where there is nothing to go back to), the operation,
// [apartScript] and the program with its arguments. When that has ended, the time begins
// anew: what is left is for the confirmation. It exits as the program does, or with
// [unguarded].
const activateScript = `
dir=$1 token=$2 op=$3 apart=$4; shift 4` + activationCommon + `
[ -z "$token" ] || armed "$token" || { echo "the watchdog is not armed: nothing is activated" >&2; exit 93; }
if [ -d /run/systemd/system ]; then
  systemd-run -E LOCALE_ARCHIVE -E NIXOS_INSTALL_BOOTLOADER --collect --no-ask-password --pipe --wait --quiet \
    --service-type=exec --unit=` + activationUnit + ` "$@"
  status=$?
  [ "$(is token)" != "$token" ] || [ -h "$dir/claim" ] || systemctl try-restart ` + watchdogUnit + `.timer || systemctl start ` + watchdogUnit + `.service
  exit $status
fi
if [ ! -h "$act/boot" ] || [ "$(at ended)" ] || ! atwork; then
  ( umask 077; rm -rf "$act"; mkdir -p "$act" && : >"$act/out" && : >"$act/err" ) || exit
  detach sh -c "$apart" sh "$dir" "$token" "$op" "$@" </dev/null >"$act/out" 2>"$act/err"
  until [ -h "$act/boot" ] || ! kill -0 $! 2>/dev/null; do moment; done
fi
follow
`

// apartScript is what goes on: the activation, and that the time begins anew after it.
// The watchdog may have had enough before it knew whom to kill, so it is asked then.
const apartScript = `
dir=$1 token=$2 op=$3; shift 3` + activationCommon + `
ln -s $$ "$act/pid" && ln -s "$(bootid)" "$act/boot" || exit
status=93
[ -z "$token" ] || note activation $$
if [ -z "$token" ] || armed "$token"; then
  "$@"
  status=$?
fi
[ -z "$token" ] || ! armed "$token" || note again 1
ln -s $status "$act/ended"
`

// foundScript is what became of the activation of the operation that is its second
// argument; the first is the watchdog's folder. It follows one that goes on, and exits
// as that did, or with [notBegun] or [cutByBoot].
const foundScript = `
dir=$1 op=$2` + activationCommon + `
[ -h "$act/boot" ] || exit 92
[ "$(at ended)" ] || [ "$(at boot)" = "$(bootid)" ] || exit 91
follow
`

// forgetScript takes away what is kept of it.
const forgetScript = `
dir=$1 op=$2` + activationCommon + `
rm -rf "$act"
`

// The exit statuses of the scripts where no program of a system ended. Neither program
// has them.
const (
	unguarded = 93 // nothing was activated: there is no watchdog
	notBegun  = 92
	cutByBoot = 91
)
