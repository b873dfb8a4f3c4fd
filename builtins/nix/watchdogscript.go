package nix

import "infra/runtime/remote"

// What is kept of a watchdog on its host, root's only, in the folder [watchdogDir]:
//
//	token, new, prev, profile, seconds, kind, by, boot
//	          links to what it was armed with, so that each is there as a whole or not
//	          at all, also on a disk that is full
//	claim     a link to "confirmed" or to "back": whoever makes it decides, once and for all
//	back.sh   [backScript]
//	log       what going back printed
//	ended     a link to the exit status of going back
//	again     the time begins anew; now: it is over
//	pid       of the process that watches, where neither systemd nor launchd can be asked
//	activation  a link to the process group of the activation, where systemd does not have it
//
// It is gone after the confirmation. After going back it is left, until the next
// switch, to tell what happened.

// watchdogDir is the folder on a host of a kind. On NixOS a boot empties it, and
// starts the old system by itself, which is still what the profile leads to. On a
// Mac what an activation wrote stays, so the watchdog has to be there after a boot.
func watchdogDir(kind string) string {
	if kind == darwinKind {
		return "/nix/var/infra/watchdog"
	}
	return "/run/infra/watchdog"
}

// The names under which systemd and launchd know the watchdog, and systemd the
// activation: nixos-rebuild uses that name too, so two switches keep each other out.
const (
	watchdogUnit   = "infra-watchdog"
	watchdogLabel  = "org.infra.watchdog"
	watchdogPlist  = "/Library/LaunchDaemons/" + watchdogLabel + ".plist"
	activationUnit = "nixos-rebuild-switch-to-configuration"
)

// watchdogCommon are the functions of every script about the watchdog in $dir.
const watchdogCommon = `
resolve() { (cd -P "$1" 2>/dev/null && pwd -P); }
is() { readlink "$dir/$1" 2>/dev/null; }
note() { ln -sfn "$2" "$dir/$1"; }
bootid() { ` + remote.BootScript + ` || echo unknown; }
alive() {
  case $(is by) in
    systemd) case $(systemctl show -p ActiveState ` + watchdogUnit + `.timer ` + watchdogUnit + `.service) in
      *=active*|*=activating*|*=deactivating*) ;;
      *) return 1 ;;
      esac ;;
    ?*) kill -0 "$(is pid)" 2>/dev/null ;;
    *) return 1 ;;
  esac
}
armed() { [ "$(is token)" = "$1" ] && [ ! -h "$dir/claim" ] && alive; }
claim() { ln -s "$1" "$dir/claim" 2>/dev/null; [ "$(is claim)" = "$1" ]; }
moment() { sleep 0.1 2>/dev/null || sleep 1; }
detach() {
  if command -v setsid >/dev/null; then setsid "$@" &
  elif command -v perl >/dev/null; then perl -e 'use POSIX; setsid; exec {$ARGV[0]} @ARGV' "$@" &
  else nohup "$@" & fi
}
`

// backScript goes back to the system that ran before, unless the claim is taken.
// It needs a POSIX shell and nix. As "watch" it waits for its time first; as a unit
// of systemd it is started when that is over.
const backScript = `# Made by infra: goes back to the system that ran before a switch which nobody confirmed.
dir=${0%/*}` + watchdogCommon + `
prev=$(is prev) profile=$(is profile) kind=$(is kind) by=$(is by)
PATH=$prev/sw/bin:$PATH:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export PATH
cd /
exec </dev/null >/dev/null 2>&1
if [ "$1" = watch ]; then
  note pid $$
  n=0
  while [ "$n" -lt "$(is seconds)" ] && [ ! -h "$dir/now" ] && [ "$(is boot)" = "$(bootid)" ]; do
    [ -h "$dir/token" ] && [ ! -h "$dir/claim" ] || exit 0
    if [ -h "$dir/again" ]; then rm -f "$dir/again"; n=0; fi
    sleep 1
    n=$((n + 1))
  done
fi
[ -h "$dir/token" ] && claim back && [ ! -h "$dir/ended" ] || exit 0
exec >>"$dir/log" 2>&1
echo "going back to $prev"
if [ -d /run/systemd/system ]; then
  systemctl stop ` + watchdogUnit + `.timer 2>/dev/null
  systemctl kill --signal=KILL ` + activationUnit + `.service 2>/dev/null
  systemctl stop ` + activationUnit + `.service 2>/dev/null
elif [ -h "$dir/activation" ]; then
  group=$(ps -o pgid= -p "$(is activation)" | tr -d " ")
  [ -z "$group" ] || kill -KILL "-$group"
fi
if [ "$profile" != none ] && [ "$(resolve ` + systemProfile + `)" != "$profile" ]; then
  nix-env -p ` + systemProfile + ` --set "$profile"
fi
tries=0 waits=0
while :; do
  if [ "$kind" = darwin ]; then "$prev/` + activateProgram + `"; else "$prev/` + switchProgram + `" test; fi
  status=$?
  [ "$(resolve /run/current-system)" = "$prev" ] && [ "$status" != 1 ] && break
  # Somebody switches by hand: that ends, and has not taken the host back.
  case $status,$(tail -n 3 "$dir/log") in
  1,*"Could not acquire lock"*)
    waits=$((waits + 1))
    if [ "$waits" -lt 120 ]; then sleep 1; continue; fi ;;
  esac
  tries=$((tries + 1))
  [ "$tries" -lt 5 ] || break
  sleep 2
done
note ended "$status"
if [ "$by" = launchd ]; then
  rm -f ` + watchdogPlist + `
  launchctl bootout system/` + watchdogLabel + `
fi
`

// armScript arms the watchdog, or gives one that is armed its time anew. It reads
// [backScript]. Its arguments are the folder, the kind of host, the token, the new
// system, the one to go back to, the profile's ("none" if it has none) and the time
// in seconds. It prints name=value lines: "armed" is by what; "held" is the token of
// another switch; "current" is what runs, where that is not what is to be gone back to.
const armScript = `
dir=$1 kind=$2 token=$3 new=$4 prev=$5 profile=$6 seconds=$7` + watchdogCommon + `
umask 077
if armed "$token" && [ "$(is new)" = "$new" ]; then
  case $(is by) in systemd) systemctl restart ` + watchdogUnit + `.timer || exit;; *) note again 1;; esac
  echo "armed=$(is by)"; exit 0
fi
tries=0
while [ -h "$dir/ended" ] && [ "$tries" -lt 50 ] && alive; do tries=$((tries + 1)); moment; done
if [ -h "$dir/token" ] && alive; then echo "held=$(is token)"; exit 0; fi
if [ "$(resolve /run/current-system)" != "$prev" ]; then echo "current=$(resolve /run/current-system)"; exit 0; fi
rm -rf "$dir" && mkdir -p "${dir%/*}" && mkdir "$dir" || exit
cat >"$dir/back.sh" && [ -s "$dir/back.sh" ] || { rm -rf "$dir"; echo "the watchdog could not be written" >&2; exit 1; }
by=detached
if [ -d /run/systemd/system ]; then by=systemd
elif [ "$kind" = darwin ] && command -v launchctl >/dev/null; then by=launchd; fi
note kind "$kind"; note new "$new"; note prev "$prev"; note profile "$profile"; note seconds "$seconds"
note boot "$(bootid)"; note by "$by"; note token "$token"
case $by in
systemd)
  [ ! -e /run/systemd/transient/` + watchdogUnit + `.timer ] || systemctl stop ` + watchdogUnit + `.timer 2>/dev/null
  systemd-run --quiet --no-ask-password --collect --unit=` + watchdogUnit + ` --description="go back to $prev" \
    --on-active="$seconds" --timer-property=AccuracySec=100ms --timer-property=RemainAfterElapse=no \
    -p OOMPolicy=continue -p Restart=on-abnormal /bin/sh "$dir/back.sh" ;;
launchd)
  launchctl bootout system/` + watchdogLabel + ` 2>/dev/null
  cat >` + watchdogPlist + ` <<END
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
  <key>Label</key><string>` + watchdogLabel + `</string>
  <key>ProgramArguments</key><array><string>/bin/sh</string><string>-c</string>
    <string>[ ! -x /bin/wait4path ] || /bin/wait4path $dir/back.sh; exec /bin/sh $dir/back.sh watch</string></array>
  <key>RunAtLoad</key><true/>
  <key>AbandonProcessGroup</key><true/>
</dict></plist>
END
  chmod 644 ` + watchdogPlist + ` && launchctl bootstrap system ` + watchdogPlist + ` ;;
*)
  detach sh "$dir/back.sh" watch </dev/null >/dev/null 2>&1 ;;
esac
failed=$?
tries=0 # systemd-run returns when the timer runs
until [ "$failed" != 0 ] || [ "$by" = systemd ] || alive; do
  tries=$((tries + 1)); [ "$tries" -le 50 ] || failed=1
  moment
done
if [ "$failed" != 0 ]; then rm -rf "$dir" ` + watchdogPlist + `; echo "the watchdog did not start" >&2; exit 1; fi
echo "armed=$by"
`

// confirmScript takes the watchdog away, and all that is left of it, if the system
// runs that was to be confirmed. Its arguments are the folder, the token and that
// system. It prints "confirmed" or "not", and with that the claim.
const confirmScript = `
dir=$1 token=$2 new=$3` + watchdogCommon + `
if [ "$(resolve /run/current-system)" != "$new" ] && [ "$4" != anyway ]; then echo not=1
elif [ "$(is token)" = "$token" ]; then
  if claim confirmed; then
    case $(is by) in
      systemd) systemctl stop ` + watchdogUnit + `.timer 2>/dev/null ;;
      launchd) rm -f ` + watchdogPlist + `; launchctl bootout system/` + watchdogLabel + ` 2>/dev/null ;;
      *) kill "$(is pid)" 2>/dev/null ;;
    esac
    rm -rf "$dir"
    echo confirmed=1
  else echo not=1; fi
elif [ -h "$dir/token" ]; then echo not=1
else echo confirmed=1; fi
[ "$(is token)" != "$token" ] || echo "claim=$(is claim)"
`

// askScript tells the state of the watchdog with the token. With "now" it has it go
// back at once; where it goes back, it waits a little for its end.
const askScript = `
dir=$1 token=$2 now=$3` + watchdogCommon + `
if [ "$now" ] && armed "$token"; then
  case $(is by) in systemd) systemctl start --no-block ` + watchdogUnit + `.service ;; *) note now 1 ;; esac
  tries=0
  until [ -h "$dir/claim" ] || [ "$tries" -ge 30 ]; do tries=$((tries + 1)); moment; done
fi
if [ "$(is token)" = "$token" ]; then
  tries=0
  while [ "$(is claim)" = back ] && [ ! -h "$dir/ended" ] && [ "$tries" -lt 30 ] && alive; do
    tries=$((tries + 1)); moment
  done
  echo ours=1
  [ "$(is boot)" = "$(bootid)" ] || echo booted=1
  armed "$token" && echo watches=1
  alive && echo alive=1
  echo "claim=$(is claim)"
  echo "ended=$(is ended)"
  [ ! -s "$dir/log" ] || tail -n 10 "$dir/log" | sed 's/^/log=/'
fi
[ ! -d /run/systemd/system ] || echo "systemd=$(systemctl is-system-running 2>/dev/null)"
`
