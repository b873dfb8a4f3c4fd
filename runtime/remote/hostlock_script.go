package remote

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// The lock of a host is the kernel's, flock(2) on the folder /tmp/infra.lock:
// one process holds it, and it is free when that process has ended, however it
// ended. So there is no stale lock to recognise and none to take over, after a
// kill, a reboot or a new start of the clock.
//
// The folder is in /tmp because every login of a host, root or not, must come
// to the same place; /run is only root's on NixOS and is not on a Mac. It is
// writable by all and sticky, and root makes it its own. A host whose /tmp is
// not one for all logins names another in INFRA_LOCK_DIR (SetEnv of sshd).
// Whoever has an account on the host can hold the lock, as with any that
// logins share; nobody but root and the holder's own login can break it.
//
// In the folder the holder leaves who it is, in a file named by its token:
// "PID START WORDS". They are for people and for breaking the lock. A file
// whose process is gone, or has another start, is of a dead holder.
//
// The texts follow the rules of [wrapper], and read, like [putScript], one line
// of shell from standard input, which sets:
//
//	__u  the line [started], kept out of the argument list, where it marks a command
//	__t  the token
//	__h  the holder's words
//	__q  how long a tick is, in seconds, and __l how many of them make the lease
//	__g  the grace of commands, in tenths of a second
const lockCommon = `
IFS= read -r __c && eval "$__c" || exit 125;
trap "" PIPE;
__d=${INFRA_LOCK_DIR:-/tmp/infra.lock};
__f() { printf "%s\n" "$__u" "fail $1" >&2; exit 1; };
__k() {
 if command -v flock >/dev/null; then flock -n $1 9 9<&9;
 elif command -v perl >/dev/null; then
  perl -MPOSIX=errno,strerror,EWOULDBLOCK -e "open(F, q(<&=9)) && flock(F, shift() eq q(-s) ? 5 : 6) && exit 0;
   exit 1 if errno() == EWOULDBLOCK; print strerror(errno()); exit 2" -- $1 9<&9;
 else echo "a lock needs flock (of util-linux) or perl"; return 9; fi;
};
__b() {
 if [ -d /proc/$$ ]; then IFS= read -r __y </proc/$1/stat && set -- ${__y##*") "} && echo ${20};
 else TZ=UTC0 LC_ALL=C ps -o lstart= -p $1 | tr -s " " _; fi;
} 2>/dev/null;
__a() { [ -n "$1" ] && [ -z "$(printf %s "$1" | tr -d 0123456789)" ] && [ "$(__b $1)" = "$2" ]; };
__w() {
 for __x in *; do
  [ -L "$__x" ] && continue;
  case $__x in *.new) continue;; esac;
  [ -f "$__x" ] && __y=$(head -c 4096 "./$__x" | head -n 1) || continue;
  __p=${__y%% *} __y=${__y#* };
  __a "$__p" "${__y%% *}" && printf "busy %s %s %s\n" "$__x" "$__p" "${__y#* }";
 done;
} 2>/dev/null;`

// lockPlace goes to the folder and opens it as 9. A place that another account
// can put something else in is checked again once the lock is held.
const lockPlace = `
[ -L "$__d" ] && __f "$__d is a symbolic link, not a folder";
CDPATH= cd "$__d" 2>/dev/null && [ -r . ] || __f "no way into $(ls -ld "$__d" 2>&1)";
exec 9<.;`

// lockMake makes the folder where it is not there yet.
const lockMake = `
umask 0;
[ -d "$__d" ] || { __x=$(mkdir "$__d" 2>&1) && chmod 1777 "$__d"; } || [ -d "$__d" ] || __f "$__x";
[ -O "$__d" ] || case $(id -u) in 0)
 chown -h 0 "$__d" && { [ -L "$__d" ] || chmod 1777 "$__d"; };;
esac;
umask 022;`

// lockOther looks whether somebody else holds the lock, and ends with who does.
// Who holds it but has not said so may be about to; the one who has only
// looked is gone in a moment.
const lockOther = `
__i=0;
until __x=$(__k $__o 2>&1); do
 __y=$?;
 [ $__y -eq 1 ] || __f "flock on $__d: $__x (exit status $__y)";
 __x=$(__w); __i=$((__i + 1));
 if [ -n "$__x" ] || [ $__i -gt 20 ]; then printf "%s\n" "$__u" "${__x:-busy}" >&2; exit 0; fi;
 sleep .1 || { sleep 1; __i=$((__i + 9)); };
done;`

// lockEnd ends the holder, once no command of its connection is left on the
// host, or their grace is over: a command that may still clean up is work on
// the host too. Commands of other connections are told apart where the
// environment can be read.
//
// Its children are ended by KILL: a shell that has just forked may take TERM for
// its own, and the sleep that it becomes would be waited for.
//
// __z is for a holder that nobody vouches for any more while sshd believes in
// the connection: it ends the connection, and thereby its commands.
const lockEnd = `
__j() {
 if [ -d /proc/$$ ]; then
  grep -l "infra-command-starte[d]" /proc/[0-9]*/cmdline | while read -r __x; do
   __x=${__x%/cmdline};
   if [ -r $__x/environ ]; then grep -qF "SSH_CONNECTION=$SSH_CONNECTION" $__x/environ && echo y;
   elif [ -d $__x ]; then echo y; fi;
  done;
 else ps -A -ww -o command= | grep "infra-command-starte[d]"; fi;
} 2>/dev/null;
__e() {
 trap "" HUP TERM USR1; exec 2>/dev/null; kill -KILL $__r $__s; wait $__r $__s; __i=-20;
 while [ $__i -lt $__g ] && [ -n "$(__j)" ]; do
  sleep .1 || { sleep 1; __i=$((__i + 9)); }; __i=$((__i + 1));
 done;
 rm -f "./$__t"; exit 0;
};
__z() {
 trap "" HUP TERM USR1;
 case $(cat /proc/$PPID/comm 2>/dev/null || ps -o comm= -p $PPID) in *sshd*|*dropbear*) kill $PPID;; esac;
 __e;
};`

// lockTake takes the lock, says "held" and the id of the host's boot, and holds
// it. Each line that it then reads renews the lease and is answered; the end of
// the input frees the lock.
// The lease counts sleeps, not time: clocks are set.
//
// Standard input is read by a child, because only wait is sure to be
// interrupted by a signal. No child but the short-lived inherits 9.
const lockTake = `
[ -L "$__d" ] && __f "$__d was replaced"; [ . -ef "$__d" ] || __f "$__d was replaced";
for __x in *; do [ -e "$__x" ] && rm -f "./$__x"; done 2>/dev/null;
__w="$$ $(__b $$) $__h";
__x=$( { printf "%s\n" "$__w" | cat >"$__t.new" && mv -f "$__t.new" "$__t"; } 2>&1); __y=;
IFS= read -r __y 2>/dev/null <"$__t";
[ "$__y" = "$__w" ] || { rm -f "$__t.new" "$__t"; __f "nothing can be written in $__d: $__x"; };
__m=$$ __n=0 __r= __s=;
trap "__n=0" USR1; trap __e HUP; trap __z TERM;
exec 3<&0 </dev/null;
__x=$( ` + BootScript + `);
printf "%s\n" "$__u" "held $__x" >&2;
{
 while IFS= read -r __x; do kill -USR1 $__m || exit; echo "ok $__x" >&2; done; kill -HUP $__m;
} <&3 3<&- 9<&- & __r=$!;
exec 3<&-;
while [ $__n -lt $__l ] && [ . -ef "$__d" ]; do
 sleep $__q >/dev/null 2>&1 9<&- & __s=$!;
 wait $__s; if [ $? -lt 128 ]; then __n=$((__n + 1)); else kill -KILL $__s; wait $__s; fi 2>/dev/null;
done;
__z`

// lockBreak ends the holder with the token $__t and no other: TERM, upon which
// it ends its connection, and KILL when it has not ended some seconds after the
// grace of its commands. The owner of the words must be the owner of the
// process: anybody may write words.
const lockBreak = `
__v() { ls -ldn "$1" 2>/dev/null | { read -r __x __x __y __x; echo "$__y"; }; };
__vp() { if [ -d /proc/$$ ]; then __v /proc/$1; else ps -o uid= -p $1 | tr -d " "; fi; };
__kp() { kill -$1 $__p 2>/dev/null || sudo -n kill -$1 $__p 2>&1; };
__x=$(__w | grep "^busy $__t ") || { printf "%s\n" "$__u" other >&2; exit 0; };
__x=${__x#busy * } __p=${__x%% *}; __s=$(__b $__p);
[ "$(__v "$__t")" = "$(__vp $__p)" ] || __f "process $__p is not of the user who owns the lock";
__x=$(__kp TERM) || __f "may not end process $__p: $__x";
__i=-50;
while __a $__p "$__s" && [ $__i -lt $__g ]; do
 sleep .1 || { sleep 1; __i=$((__i + 9)); }; __i=$((__i + 1));
done;
__a $__p "$__s" && __kp KILL;
printf "%s\n" "$__u" broken >&2`

const (
	lockScript   = lockCommon + lockEnd + lockMake + lockPlace + "__o=-x;" + lockOther + lockTake
	holderScript = lockCommon + `[ -d "$__d" ] || { printf "%s\n" "$__u" free >&2; exit 0; };` + lockPlace +
		"__o=-s;" + lockOther + `printf "%s\n" "$__u" free >&2`
	breakScript = lockCommon + `[ -d "$__d" ] || { printf "%s\n" "$__u" other >&2; exit 0; };` + lockPlace + lockBreak
)

// lockTicks is in how many sleeps a lease is counted.
const lockTicks = 10

// lockHead is what the scripts read first.
func lockHead(h Holder, words string, lease, grace time.Duration) string {
	tick := max(lease.Seconds()/lockTicks, 0.01)
	return script("__u="+quote(started), "__t="+quote(h.Token), "__h="+quote(words),
		// One tick more: the host must not be done counting before we are, and
		// a renewal may fall between a sleep and its being counted.
		"__q="+strconv.FormatFloat(math.Ceil(tick*100)/100, 'f', -1, 64), fmt.Sprintf("__l=%d", lockTicks+1),
		fmt.Sprintf("__g=%d", max(1, grace/(100*time.Millisecond)))) + "\n"
}
