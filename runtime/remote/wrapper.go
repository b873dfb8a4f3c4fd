package remote

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// started is the line on standard error by which a script on a host says that
// it got as far as the command itself. What comes before it is the login
// shell's or sudo's; a script that ends without it did not run the command.
const started = "infra-command-started"

// wrapper runs one command on a host and ends it when our end of the
// connection goes away, which sshd does not do.
//
// It reads from standard input: a line "INPUT-SIZE GRACE" (in bytes, in tenths
// of a second), a line of shell that sets the environment, the folder and "$@",
// and the command's input. Standard input then stays open for as long as the
// command is wanted: its end, by a cancelled run or a lost connection, means
// TERM to the command's process group and KILL after the grace.
//
// The input is kept in an unlinked file (in memory where the host has
// /dev/shm), not piped, for two reasons: a command never sees half of its
// input, and nothing that a command leaves unread hides the end of the stream.
//
// The command gets a session of its own, by setsid or perl, so that its group
// is known; without either, only the command itself is signalled. It runs in
// the foreground of its shell, because what a shell puts in the background
// ignores INT and QUIT for ever.
//
// The text must suit every login shell that may carry it as one word: no
// single quote, no newline (lines are joined, see [oneWord]), no exclamation mark, no
// doubled backslash.
const wrapper = "__t=;" + wrapperReads + wrapperStores + wrapperRuns

const wrapperReads = `
IFS=" " read -r __l __g && IFS= read -r __c || exit 125;`

// wrapperStores makes the input descriptor 5.
const wrapperStores = `
if [ $__l -gt 0 ]; then
 for __d in /dev/shm "${TMPDIR:-/tmp}" /tmp; do
  [ -w "$__d" ] && __f=$(mktemp "$__d/infra.XXXXXX") && break;
 done;
 exec 4>"$__f" 5<"$__f" 6<"$__f" && rm -f "$__f" && head -c $__l >&4 && [ $(wc -c <&6) -eq $__l ]
  || { echo "the input could not be stored" >&2; exit 125; };
 exec 4>&- 6<&-;
else exec 5</dev/null; fi;`

// wrapperRuns announces the command with $__t before it, in one packet with it.
const wrapperRuns = `
__k() { kill -$1 -$__p || kill -$1 $__p; };
__w() {
 while IFS= read -r __x; do :; done;
 trap "" TERM; __k TERM; __i=0;
 while [ $__i -lt $__g ] && __k 0; do
  sleep .1 || { sleep 1; __i=$((__i + 9)); }; __i=$((__i + 1));
 done;
 __k KILL;
};
__b= __r=125;
if __s=$(command -v setsid); then :;
elif command -v perl >/dev/null; then __s="perl|-e|use POSIX;setsid;exec{\$ARGV[0]}@ARGV"; IFS="|"; fi;
exec 3<&0 7>&1 8>&2 2>/dev/null;
{
 ( eval "$__c";
  exec $__s /bin/sh -c "command -v \"\$1\" >/dev/null || { echo \"\$1 is not installed (not on PATH)\"; exit 127; } >&2;
   echo p \$\$ >&4; echo ${__t}` + started + ` >&2; exec 4>&-; exec \"\$@\"" sh "$@"
 ) <&5 4>&1 >&7 2>&8 3<&- 5<&- 7>&- 8>&-;
 echo r $?;
} | {
 exec 5<&-;
 while IFS=" " read -r __a __v; do case $__a in
  p) __p=$__v; __w <&3 >/dev/null 7>&- 8>&- & __b=$!;;
  r) __r=$__v;;
 esac; done;
 [ -n "$__b" ] && kill $__b && wait $__b;
 exit $__r;
}`

// oneWord is the command line by which a login shell becomes /bin/sh running
// script, as root by sudo where asked. The rules for the script hold for its arguments.
func oneWord(script string, sudo bool, args ...string) string {
	exec := "exec /bin/sh -c '"
	if sudo {
		exec = "exec sudo -n /bin/sh -c '"
	}
	line := exec + joined(script) + "'"
	if len(args) > 0 {
		line += " sh '" + strings.Join(args, "' '") + "'"
	}
	return line
}

// joined is a script on one line.
func joined(script string) string {
	var lines []string
	for line := range strings.Lines(script) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.TrimSpace(strings.Join(lines, " "))
}

// wrapperInput is what [wrapper] reads for a command, of which line is the [prelude].
func wrapperInput(cmd Command, line string, grace time.Duration) io.Reader {
	input := cmd.Stdin.Reveal()
	head := fmt.Sprintf("%d %d\n%s\n", len(input), max(1, grace/(100*time.Millisecond)), line)
	return io.MultiReader(strings.NewReader(head), strings.NewReader(input))
}
