package remote

// shellRuns runs commands one after another in one session, and ends with our end of it.
//
// Its arguments are MARK and GRACE (in tenths of a second). It reads commands, a line each:
// a word, and shell that sets its environment, its folder and "$@". One that is led
// by "first" is begun in any case; one that is led by "after", where the one before it was
// begun and has ended with 0. Behind a line "halt" none is begun; empty lines are none.
//
// MARK, behind the byte 036, is nothing that a command prints. What the shell says itself
// is led by the two, a line each: on standard output and on standard error "start", "next" before what one of
// "after" says, and for each command, in order, "end", or, where it was not begun, "skip", or "away" if
// only because of the shell;
// on standard error "begin" before what a command says, and after "end" the exit status,
// and 1 where something of it, or of one before it, is left that may still print, or where
// it has spoilt the shell. The end of a command may come behind the beginning of the next one.
//
// A command spoils it that makes the output of all of them one that does not wait
// (O_NONBLOCK), as node and ssh may: the next ones would lose what they print. Linux tells.
//
// Four processes have to do with it. One reads our lines. One runs the commands, in
// the foreground, for the reasons that [wrapper] gives, and its rules hold for this
// text. A third is told by both what has happened, by lines on a pipe, so that it can
// end the command when our end is gone:
//
//	x PID     the one that runs commands
//	p PID     a command, which has its group
//	r STATUS  it has ended; a 1 behind it: and has spoilt the shell
//	s WORD    a command was not begun, and what is said of it
//	h, q, e   we want no further command; nor the shell; our end is gone
//	d         nothing more will run
//
// The fourth waits for them. It has the text in its arguments, [started] too, by which
// the holder of a lock finds what may be under way.
const shellRuns = "__m=$1 __g=$2; echo " + started + " >&2;" + shellBegins + shellReads + "esac; done; echo e >&4;" + shellWorks

// shellBegins keeps the session's input as 3, and its output as 7 and 8.
const shellBegins = `
__s= __r=; if command -v setsid >/dev/null; then __s=setsid;
elif command -v perl >/dev/null; then __s="perl|-e|use POSIX;setsid;exec{\$ARGV[0]}@ARGV"; fi;
__o=plain; if [ -d /run/systemd/system ] && [ -O /proc/1 ] && command -v systemd-run >/dev/null; then __o=units; fi;
exec 3<&0 7>&1 8>&2 </dev/null 2>/dev/null;
printf "\036%s start\n" "$__m" >&7; printf "\036%s start %s\n" "$__m" $__o >&8;
__q() {
 if IFS=" " read -r __p __x </proc/self/stat; then echo $1 $__p; else /bin/sh -c "echo $1 \$PPID"; fi >&4;
};
__c() {
 if [ $__w = after ]; then printf "\036%s next\n" "$__m" >&7; printf "\036%s next\n" "$__m" >&8; fi;
 __q p; exec >&7 2>&8 4>&- 7>&- 8>&-; eval "$__y";
 command -v "$1" >/dev/null || { echo "$1 is not installed (not on PATH)" >&2; exit 127; };
 printf "\036%s begin\n" "$__m" >&2;
 IFS="|"; exec $__s "$@";
};
__n() {
 while read -r __x __z; do case $__x$__z in flags:*[4567]???) return 0;; esac; done </proc/self/fdinfo/$1; return 1;
};`

// shellReads begins the one that reads our lines, up to what a line may be.
const shellReads = `
{
 {
  {
   trap "" PIPE;
   while IFS= read -r __x; do case $__x in
    "") ;;
    halt) echo h >&4;;
    first*|after*) [ -z "$__r" ] || kill -0 $__r || break; printf "%s\n" "$__x";;`

// shellWorks is the rest of the four.
const shellWorks = `
  } <&3 3<&- 7>&- 8>&- &
 } | {
  exec 3<&-; trap "__h=1" USR1; __h= __o= __v=0; __q x;
  while IFS=" " read -r __w __y; do
   if [ -n "$__h" ] || { [ $__w = after ] && [ $__v -ne 0 ]; }; then __v=1; echo s skip >&4; continue; fi;
   if [ -n "$__o" ]; then echo s away >&4; continue; fi;
   ( __c ) </dev/null; __v=$?;
   if __n 7 || __n 8; then __o=1; fi;
   echo r $__v $__o >&4;
  done;
 };
 echo d >&4;
} 4>&1 | {
 exec 3<&-; IFS=" "; __p= __e= __z= __l=;
 __k() { kill -$1 -$__p || kill -$1 $__p; };
 while read -r __a __v __o; do case $__a in
  x) __e=$__v; [ -z "$__z" ] || kill -USR1 $__e;;
  p) __p=$__v; __l="$__l $__v"; case $__z in e|q) break;; esac;;
  r) __f=${__o:-0}; for __x in $__l; do if kill -0 -$__x; then __f=1; fi; done;
   [ $__f = 1 ] || __l=; __p=; printf "\036%s end\n" "$__m" >&7; printf "\036%s end %s %s\n" "$__m" $__v $__f >&8;;
  s) printf "\036%s %s\n" "$__m" $__v >&7; printf "\036%s %s\n" "$__m" $__v >&8;;
  h|q|e) __z=$__a; kill -USR1 $__e; case $__a$__p in [qe]?*) break;; esac;;
  d) break;;
 esac; done;
 if [ -n "$__p" ]; then
  trap "" TERM; __k TERM; __i=0;
  while [ $__i -lt $__g ] && __k 0; do
   sleep .1 || { sleep 1; __i=$((__i + 9)); }; __i=$((__i + 1));
  done;
  __k KILL;
 fi;
 case $__z in e) [ -z "$__r" ] || kill -HUP $__r;; esac;
}`
