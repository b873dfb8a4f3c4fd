package remote

import "fmt"

// A command that runs as a unit of systemd goes on without us. What is kept of
// it on its host, root's only, where N is its name:
//
//	/run/infra/N/claim        a link to "begun", or to "void" where it was settled that it
//	                          never will begin, or to "plain" where it ran without a unit:
//	                          whoever makes the link decides that, once and for all
//	/run/infra/N/state        what has happened, a line each (see below)
//	/run/infra/N/{out,err}    what it printed, the first [keptOutput] bytes, by way of *.pipe
//	/run/infra/N/*.tail       the last [keptTail] bytes, and *.count how many there were
//	/run/infra/N/{env,prelude,input,run}   removed as soon as the unit has opened them
//	/var/lib/infra/ops/N      a link to "begun.BOOT" (or "plain.BOOT"), made and synced
//	                          before the command begins
//	/var/lib/infra/ops/N.end  a link to the exit status
//
// Links, because one is made with its content at once or not at all, and takes
// no block of a disk that is full. BOOT is the kernel's boot id.
//
// The lines of state: "r STATUS" when the command has ended, "out" and "err" at
// the end of what it printed ("cut out" before, where not all was kept), "fail
// WHY" when it could not be begun, and "gone" when nothing more will happen.

// How much is kept of each of a command's outputs: more than of its standard
// output gets to a plan, and than /run of a small machine can bear some of.
const (
	keptOutput = 9 << 20
	keptTail   = 512 << 10
)

// unitRuns is what the unit runs, a script for its own folder.
//
// What it is given is open, and the files are gone, before it begins. It has
// begun when it holds the claim and the disk has that. What stops the unit sends
// TERM to all of its processes: by its trap this one lives to tell how the command
// ended, what it runs to tell that is deaf to it, and those that copy its output see that
// to its end.
//
// Output goes through pipes, not straight to files, because many a script
// writes to /dev/stderr, and opening that empties a file. tee goes on when its
// file has the limit; dd counts. An output has ended when nothing has it open.
var unitRuns = fmt.Sprintf(`
__n=$1; __d=/run/infra/$1; __s=/var/lib/infra/ops/$1;
. $__d/env; umask 077; trap : TERM; trap "echo gone >>$__d/state" EXIT;
exec 6<$__d/prelude; if [ -s $__d/input ]; then exec 5<$__d/input; else exec 5</dev/null; fi;
rm -f $__d/env $__d/prelude $__d/input $__d/run &
read -r __b </proc/sys/kernel/random/boot_id && ln -s begun $__d/claim || exit;
__x=$(ln -s begun.$__b $__s 2>&1) || { echo "fail $__x" >>$__d/state; exit; };
sync ${__s%%/*} || sync;
__o() {
 trap "" TERM; __k=;
 { if ( trap "" XFSZ; ulimit -f %d; exec tee -a $__d/$1 ); then __k=$1; else __k="cut $1"; fi; echo $__k >>$__d/state; } |
  LC_ALL=C dd bs=64k 2>$__d/$1.count | tail -c %d >$__d/$1.tail;
 while IFS= read -r __x; do case $__x in "cut $1") __k=$1;; esac; done <$__d/state;
 [ -z "$__k" ] || echo $__k >>$__d/state;
};
__o out <$__d/out.pipe 5<&- 6<&- &
__o err <$__d/err.pipe 5<&- 6<&- &
( umask $__m; . /proc/self/fd/6; exec 6<&-;
 __e=; if command -v setsid >/dev/null; then __e=setsid; fi;
 exec $__e /bin/sh -c 'command -v "$1" >/dev/null || { echo "$1 is not installed (not on PATH)"; exit 127; } >&2;
  echo %s >&2; exec "$@"' sh "$@"
) <&5 >$__d/out.pipe 2>$__d/err.pipe 5<&-;
__v=$?; trap "" TERM; ln -s $__v $__s.end; echo "r $__v" >>$__d/state; trap : TERM; wait;
sync ${__s%%/*};
find ${__d%%/*} ${__s%%/*} -mindepth 1 -maxdepth 1 -mtime +%d | while IFS= read -r __x; do
 __y=${__x##*/}; systemctl -q is-active infra-${__y%%.end} || rm -rf "$__x";
done`, keptOutput/512, keptTail, started, keptDays)

// keptDays is after how long what nobody asked for again is removed, by the
// next unit.
const keptDays = 30

// word is how a script tells us what it found, on a line of standard error
// before the command's own.
const word = "infra-unit"

// traceless says that nothing of a unit is on the host: there is none to forget.
const traceless = "none"

// unitStarts starts the command as a unit and follows it, where it can, and is
// the wrapper where it cannot. It reads a line "NAME GRACE-IN-MS", a line that is
// [unitRuns], and what the wrapper reads. The rules of the wrapper's text hold.
//
// It does not start the unit before it has all of the input. The fixed words of
// the unit are all that systemd and its journal get to see.
const unitStarts = `
IFS=" " read -r __n __q && IFS= read -r __u || exit 125;
__f= __t= __j=/run/infra/$__n __s=/var/lib/infra/ops/$__n;
if [ -d /run/systemd/system ] && [ -O /proc/1 ] && command -v systemd-run >/dev/null; then
` + wrapperReads + `
 __m=$(umask); umask 077;
 if [ -h $__j/claim ]; then echo "$__n was claimed before" >&2; exit 125; fi;
 ( eval "$__c" ) || exit;
 mkdir -p $__j ${__s%/*} && { echo "__m=$__m"; export -p; } >$__j/env &&
  mkfifo $__j/out.pipe $__j/err.pipe && printf "%s\n" "$__c" >$__j/prelude && printf "%s\n" "$__u" >$__j/run &&
  printf "" >$__j/out && printf "" >$__j/err && printf "" >$__j/state && printf "" >$__j/input &&
  { [ $__l = 0 ] || { head -c $__l >$__j/input && [ $(wc -c <$__j/input) -eq $__l ]; }; }
  || { echo "the input could not be stored" >&2; rm -rf $__j; exit 125; };
 if systemd-run --no-block --quiet --no-ask-password --collect --unit=infra-$__n --description="infra $__n"
   -p WorkingDirectory="$PWD" -p ExitType=cgroup -p KillMode=control-group -p TimeoutStopSec=${__q}ms
   -p IgnoreSIGPIPE=no -p OOMPolicy=continue -p TasksMax=infinity
   -p StandardInput=null -p StandardOutput=null -p StandardError=null /usr/bin/env -i /bin/sh $__j/run $__n </dev/null; then
  echo "` + word + ` unit" >&2;
` + unitFollows + `
 fi;
 ln -s plain $__j/claim && ln -s plain.$(cat /proc/sys/kernel/random/boot_id) $__s && sync ${__s%/*} || exit 125;
 umask $__m; exec 5<$__j/input; rm -f $__j/env $__j/prelude $__j/input $__j/run; __f=1;
fi;
if [ -z "$__f" ]; then __t="` + word + ` ` + traceless + ` ";` + wrapperReads + wrapperStores + ` fi;` + wrapperRuns

// unitFollows passes on what the unit $__n has printed and prints, and exits as
// the command did. The end of its input lets go of the unit, a line "stop" before
// that ends it.
//
// tail only wakes the loop, and is not what copies: nothing says of it when it
// has passed everything on. What wakes nobody, the death of all of the unit's processes,
// is looked for every 10 seconds. An output that a daemon holds open after the command's
// end is followed for 2 seconds of silence, as by [session.drain].
const unitFollows = `
 exec 3<&0 4<$__j/out 5<$__j/err </dev/null;
 sh -c "echo \$\$; exec tail -q -c 1 -f \"\$@\" 2>/dev/null" sh $__j/state $__j/out $__j/err | {
  IFS= read -r __t;
  { while IFS= read -r __x; do
   if [ "$__x" = stop ]; then printf "" >$__j/stop; systemctl stop infra-$__n; rm -f $__j/stop; fi;
  done; kill -PIPE $__t; } <&3 >/dev/null 2>&1 & __w=$!;
  exec 3<&-; __r= __y=10;
  while :; do
   case $(LC_ALL=C timeout $__y dd bs=64k count=1 2>&1 >/dev/null) in
    "0+0 "*) break;;
    "") if [ $__y = 2 ]; then cat <&4; cat <&5 >&2; break; fi;
     case $(systemctl show -p ActiveState infra-$__n) in *=inactive|*=failed)
      ln -s void $__j/claim 2>/dev/null; echo gone >>$__j/state;;
     esac;;
   esac;
   __k= __z= __f= __q=;
   while IFS=" " read -r __a __v; do case $__a in
    r) __r=$__v;; out|err) __k=$__k.;; cut) __q="$__q $__v";; fail) __f=$__v;; gone) __z=1;;
   esac; done <$__j/state;
   if [ $__y = 10 ] && [ -n "$__r" ] && [ "$__k$__z" = "${__k%..}" ]; then
    __y=2; IFS=" ." read -r __h __a </proc/uptime; continue;
   fi;
   cat <&4; cat <&5 >&2;
   [ -n "$__z$__f" ] && break;
   [ "$__k" = .. ] && [ -n "$__r" ] && break;
   [ $__y = 10 ] && continue;
   IFS=" ." read -r __x __a </proc/uptime; [ $((__x - __h)) -gt 30 ] && break;
  done;
  __o() {
   __x=0; while IFS=" " read -r __a __v; do case $__v in bytes*) __x=$__a;; esac; done <$__j/$1.count;
   __a=$(wc -c <$__j/$1.tail); __x=$((__x - $(wc -c <$__j/$1)));
   if [ $__x -gt $__a ]; then printf "\n[%d bytes were not kept]\n" $((__x - __a)); __x=$__a; fi;
   tail -c $__x $__j/$1.tail;
  };
  for __a in $__q; do case $__a in out) __o out;; err) __o err >&2;; esac; done;
  [ -z "$__f" ] || echo "$__f" >&2;
  exec 2>/dev/null; kill -PIPE $__t; [ -e $__j/stop ] || kill $__w; wait $__w;
  exit ${__r:-125};
 };
 exit;`

// unitSettles tells what became of a unit, and where that may still tell something
// itself, follows it. It reads a line "NAME WHAT FROM". What has not begun is run
// again as NAME.2, NAME.3 and so on; the last of them that left a trace counts,
// from number FROM. "settle" takes the claim where it is free, so that the command
// never begins; "ask" only asks about what has been followed to its end.
const unitSettles = `
IFS=" " read -r __u __q __h || exit 125;
__o() { echo "` + word + ` $*" >&2; exit 0; };
[ -d /run/systemd/system ] && [ -O /proc/1 ] && command -v systemd-run >/dev/null || __o plain;
for __x in /run/infra/$__u.[0-9]* /var/lib/infra/ops/$__u.[0-9]*; do
 [ -h $__x ] || [ -d $__x ] || continue;
 __x=${__x%.end}; __x=${__x##*.}; [ $__x -le $__h ] || __h=$__x;
done;
while :; do
 __n=$__u; [ $__h = 1 ] || __n=$__u.$__h;
 __j=/run/infra/$__n __s=/var/lib/infra/ops/$__n;
 read -r __b </proc/sys/kernel/random/boot_id; __y=$(readlink $__s); __e=$(readlink $__s.end);
 case $__y in
  plain.*) __o plain;;
  begun.$__b|"") ;;
  *) [ -z "$__e" ] || __o ended $__e; __o rebooted;;
 esac;
 if [ $__q = settle ]; then
  umask 077; mkdir -p $__j;
  if __x=$(ln -s void $__j/claim 2>&1); then
   rm -f $__j/env $__j/prelude $__j/input $__j/run; __o void $((__h + 1));
  fi;
 fi;
 case $(readlink $__j/claim) in
  begun) break;;
  void) [ $__q = settle ] || __o unbegun; __h=$((__h + 1));;
  plain) __o plain;;
  *) echo "$__x" >&2; exit 125;;
 esac;
done;
[ -f $__j/state ] || { [ -z "$__e" ] || __o ended $__e; __o gone; };
if [ $__q = ask ]; then [ -z "$__e" ] || __o ended $__e; [ -n "$__y" ] || __o unbegun; __o gone; fi;
case $(systemctl show -p ActiveState infra-$__n) in *=inactive|*=failed) echo gone >>$__j/state;; esac;
echo "` + word + ` unit $__h" >&2;` + unitFollows

// unitForgets removes what is kept of units. It reads their names. What says that
// a command never begins stays, as long as this boot, in which one may be about to.
// A unit whose command has ended still writes one last line: where that comes into a
// folder that is being removed, it is removed again.
const unitForgets = `
echo ` + started + ` >&2;
while IFS= read -r __n && [ -n "$__n" ]; do
 rm -f /var/lib/infra/ops/$__n /var/lib/infra/ops/$__n.*;
 for __j in /run/infra/$__n /run/infra/$__n.*; do
  case $(readlink $__j/claim) in void) ;; *) rm -rf $__j || rm -rf $__j;; esac;
 done;
done`
