package remote

import (
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// reaperScript reads "+ GROUP GRACE" when a command starts, the grace in whole
// seconds, and "- GROUP" when it has ended. Its input ends when infra does,
// however that happens; then it ends the groups that are left, each with its
// own grace.
const reaperScript = `g=
while read -r op id grace; do
	case $op in
	+) g="$g $id:$grace" ;;
	-) n=; for x in $g; do [ "${x%:*}" = "$id" ] || n="$n $x"; done; g=$n ;;
	esac
done
for x in $g; do (
	id=${x%:*} left=${x#*:}
	kill -TERM -"$id" 2>/dev/null
	while kill -0 -"$id" 2>/dev/null; do
		[ "$left" -gt 0 ] || { kill -KILL -"$id"; exit; }
		sleep 1
		left=$((left - 1))
	done
) & done
wait`

// reaper is one process for all local commands, started with the first. The
// kernel tells only the child itself that infra died, and on a Mac not even
// that; what the child has started would go on.
var reaper = sync.OnceValue(func() io.Writer {
	sh := exec.Command("/bin/sh", "-c", reaperScript)
	sh.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Ctrl-C on the terminal is not for it
	in, err := sh.StdinPipe()
	if err != nil {
		return io.Discard
	}
	if sh.Start() != nil {
		return io.Discard
	}
	go func() { _ = sh.Wait() }()
	return in
})

// watched tells the reaper of a group, until the function it returns is called.
func watched(group int, grace time.Duration) (ended func()) {
	seconds := (grace + time.Second - 1) / time.Second
	fmt.Fprintf(reaper(), "+ %d %d\n", group, seconds)
	return func() { fmt.Fprintf(reaper(), "- %d\n", group) }
}
