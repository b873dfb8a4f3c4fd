package remote

import (
	"math"
	"strconv"
	"strings"
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
// whose process is gone, or has another start, is of a dead holder. Words that
// are being written are told by their end: all end with a brace.
//
// The session of the holder is the host's first shell as well, see [shellRuns]. Where
// nobody else is about, the lock adds three processes to it: the holder, flock and a
// sleep. So on the way to it, and from it, the shell's own commands do, and others are
// for trouble.
//
// The texts follow the rules of [wrapper]. They get, as arguments, so that a host need not
// be waited for before it is sent them:
//
//	__t  the token
//	__q  how long a tick is, in seconds, and __l how many of them make the lease
//	__g  the grace of commands, in tenths of a second
//	__h  the holder's words
//	__m  the mark of the shell, where there is one
//
// The line [started] is put together, since it marks a command in an argument list.
const lockArguments = `
__t=$1 __q=$2 __l=$3 __g=$4 __h=$5 __m=$6 __u=infra-command-starte; __u=${__u}d;`

// lockSays are how what looks after a lock is heard, and how the holder is, behind the mark.
const (
	lockSays   = `__say() { printf "%s\n" "$__u" "$@" >&2; };`
	lockMarked = `__say() { for __x; do printf "\036%s lock %s\n" "$__m" "$__x" >&2; done; };`
)

const lockCommon = `
trap "" PIPE;
__d=${INFRA_LOCK_DIR:-/tmp/infra.lock};
__f() { __say "fail $1"; exit 1; };
__k() {
 if command -v flock >/dev/null; then flock -n $1 9 9<&9;
 elif command -v perl >/dev/null; then
  perl -MPOSIX=errno,strerror,EWOULDBLOCK -e "open(F, q(<&=9)) && flock(F, shift() eq q(-s) ? 5 : 6) && exit 0;
   exit 1 if errno() == EWOULDBLOCK; print strerror(errno()); exit 2" -- $1 9<&9;
 else echo "a lock needs flock (of util-linux) or perl"; return 9; fi;
};
__b() {
 __v=;
 if [ -d /proc/$$ ]; then IFS= read -r __v </proc/$1/stat && set -- ${__v##*") "} && __v=${20};
 else __v=$(TZ=UTC0 LC_ALL=C ps -o lstart= -p $1 | tr -s " " _); fi;
} 2>/dev/null;
__num() { [ -n "$1" ] && [ -z "$(printf %s "$1" | tr -d 0123456789)" ]; };
__a() { __num "$1" && __b $1 && [ "$__v" = "$2" ]; };
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

// lockMake makes the folder where it is not there yet. Where it is another
// account's, it is root's now if that is us, which Linux tells without a command.
const lockMake = `
umask 0;
[ -d "$__d" ] || { __x=$(mkdir "$__d" 2>&1) && chmod 1777 "$__d"; } || [ -d "$__d" ] || __f "$__x";
[ -O "$__d" ] || {
 __y=;
 while read -r __x __i __y __z; do case $__x in Uid:) break;; esac; done 2>/dev/null </proc/$$/status;
 case ${__y:-$(id -u)} in 0) chown -h 0 "$__d" && { [ -L "$__d" ] || chmod 1777 "$__d"; };; esac;
};
umask 022;`

// lockOther looks whether somebody else holds the lock, and ends with who does,
// and for how many seconds, where the host tells that by one clock that nobody
// sets. Who holds it but has not said so, or not to the end, may be about to;
// the one who has only looked, or has just been told that it is free, is gone in a moment.
const lockOther = `
__busy() {
 __p=${__x#busy * } __y=; __b ${__p%% *}; IFS=" ." read -r __y __z 2>/dev/null </proc/uptime;
 if __num "$__y" && __num "$__v"; then __y="for $((__y - __v / 100))"; else __y=; fi;
 __say "${__x:-busy}" "$__y"; exit 0;
};
__i=0;
until __k $__o >/dev/null 2>&1; do
 __y=$?;
 [ $__y -eq 1 ] || { __x=$(__k $__o 2>&1) && break; __f "flock on $__d: $__x (exit status $__y)"; };
 __x=$(__w); __i=$((__i + 1));
 case $__i,$__x in [12],*) ;; *"}"|2[1-9],*) __busy;; esac;
 sleep .1 || { sleep 1; __i=$((__i + 9)); };
done;`

// lockEnd ends the holder, once no command of its connection is left on the
// host, or their grace is over: a command that may still clean up is work on
// the host too. Of the holder's own session none is left when HUP comes, and USR2
// comes where there is none at all. Commands of other connections are told apart where
// the environment can be read.
//
// Its child is ended by KILL: a shell that has just forked may take TERM for
// its own, and the sleep that it becomes would be waited for.
//
// The last process is the one that removes the words: the lock is held so long.
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
 trap "" HUP TERM USR1 USR2; exec 2>/dev/null; kill -KILL $!; wait $!; __i=-20;
 while [ $__i -lt $__g ] && [ -n "$(__j)" ]; do
  sleep .1 || { sleep 1; __i=$((__i + 9)); }; __i=$((__i + 1));
 done;
 exec rm -f "./$__t" 9<&9;
};
__z() {
 trap "" TERM USR1 USR2; { kill -KILL $!; wait $!; } 2>/dev/null;
 case $(cat /proc/$PPID/comm 2>/dev/null || ps -o comm= -p $PPID) in *sshd*|*dropbear*) kill $PPID;; esac;
 sleep $((__g / 10 + 2)) >/dev/null 2>&1 9<&- & wait $!;
 __e;
};`

// lockTake takes the lock, says "held" and the id of the host's boot, and holds
// it. Each line "renew" that the session then reads renews the lease; the end of
// its input frees the lock. The line "free" does at once: who says it knows that
// no command of the connection is left. Where the holder is gone, the next line ends
// the shell, and so the session.
//
// The lease counts sleeps, not time: clocks are set. One that was under way when
// a renewal came counts, as part of the tick more that [lockArgs] give.
//
// Only wait is sure to be interrupted by a signal, so the holder reads nothing, and is
// not the one who waits for the shell. No child but the short-lived inherits 9.
const lockTake = `
[ -L "$__d" ] && __f "$__d was replaced"; [ . -ef "$__d" ] || __f "$__d was replaced";
for __x in *; do [ -e "$__x" ] && rm -f "./$__x"; done 2>/dev/null;
{ IFS=" " read -r __p __x </proc/self/stat || __p=$(exec /bin/sh -c "echo \$PPID"); } 2>/dev/null;
__b $__p; __w="$__p $__v $__h" __y=;
{ set -C; printf "%s\n" "$__w" >"$__t"; set +C; IFS= read -r __y <"$__t"; } 2>/dev/null;
[ "$__y" = "$__w" ] || { __x=$( { printf "%s\n" "$__w" | cat >"$__t"; } 2>&1); rm -f "$__t"; __f "nothing can be written in $__d: $__x"; };
__n=0 __s=;
trap "__n=0" USR1; trap "__g=-20; __e" USR2; trap __e HUP; trap __z TERM;
IFS= read -r __x 2>/dev/null </proc/sys/kernel/random/boot_id || __x=$( ` + BootScript + `);
__say "held $__x";
while [ $__n -lt $__l ] && [ . -ef "$__d" ]; do
 [ -n "$__s" ] || { sleep $__q >/dev/null 2>&1 9<&- & __s=$!; };
 { wait $__s; if [ $? -lt 128 ]; then __n=$((__n + 1)) __s=; else kill -0 $__s || __s=; fi; } 2>/dev/null;
done;
__z`

// lockBreak ends the holder with the token $__t and no other: TERM, upon which
// it ends its connection, and KILL when it has not ended some seconds after the
// grace of its commands. The owner of the words must be the owner of the
// process: anybody may write words.
const lockBreak = `
__owner() { ls -ldn "$1" 2>/dev/null | { read -r __x __x __y __x; echo "$__y"; }; };
__vp() { if [ -d /proc/$$ ]; then __owner /proc/$1; else ps -o uid= -p $1 | tr -d " "; fi; };
__kp() { kill -$1 $__p 2>/dev/null || sudo -n kill -$1 $__p 2>&1; };
__x=$(__w | grep "^busy $__t ") || { __say other; exit 0; };
__x=${__x#busy * } __p=${__x%% *}; __b $__p; __s=$__v;
[ "$(__owner "$__t")" = "$(__vp $__p)" ] || __f "process $__p is not of the user who owns the lock";
__x=$(__kp TERM) || __f "may not end process $__p: $__x";
__i=-50;
while __a $__p "$__s" && [ $__i -lt $__g ]; do
 sleep .1 || { sleep 1; __i=$((__i + 9)); }; __i=$((__i + 1));
done;
__a $__p "$__s" && __kp KILL;
__say broken`

// lockHeld begins the holder beside the shell, which waits for it at its end.
const (
	lockHeld = "{ " + lockMarked + lockCommon + lockEnd + lockMake + lockPlace + "__o=-x;" + lockOther + lockTake + `; } 2>&8 3<&- 7>&- 8>&- & __r=$!;`
	lockHear = `
    quit) echo q >&4; exec >/dev/null 4>&-;;
    free) kill -USR2 $__r; exit;;
    renew) kill -USR1 $__r || break;;
   esac; done; echo e >&4 || kill -HUP $__r;`
	lockEnds = `; printf "\036%s gone\n" "$__m" >&7; printf "\036%s gone\n" "$__m" >&8; exec 7>&- 8>&-; wait $__r`

	lockScript   = lockArguments + shellBegins + lockHeld + shellReads + lockHear + shellWorks + lockEnds
	holderScript = lockArguments + lockSays + lockCommon + `[ -d "$__d" ] || { __say free; exit 0; };` + lockPlace +
		"__o=-s;" + lockOther + "__say free"
	breakScript = lockArguments + lockSays + lockCommon + `[ -d "$__d" ] || { __say other; exit 0; };` + lockPlace + lockBreak
)

// lockTicks is in how many sleeps a lease is counted.
const lockTicks = 10

// lockArgs are the arguments of the scripts, for any login shell: of the words, which are
// JSON, no quote and no exclamation mark is left, and no doubled backslash.
func lockArgs(h Holder, words string, lease, grace time.Duration, mark string) []string {
	tick := max(lease.Seconds()/lockTicks, 0.01)
	return []string{
		h.Token, strconv.FormatFloat(math.Ceil(tick*100)/100, 'f', -1, 64),
		// One tick more: the host must not be done counting before we are, and
		// a renewal may fall between a sleep and its being counted.
		strconv.Itoa(lockTicks + 1), strconv.FormatInt(int64(max(1, grace/(100*time.Millisecond))), 10),
		strings.NewReplacer(`\\`, `\u005c`, `'`, `\u0027`, `!`, `\u0021`).Replace(words),
		mark,
	}
}
