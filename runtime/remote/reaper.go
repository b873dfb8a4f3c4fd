package remote

import (
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
)

// reaperScript reads "+ GROUP" when a command starts and "- GROUP" when it has
// ended. Its input ends when infra does, however that happens; then it ends
// the groups that are left.
const reaperScript = `g=
while read -r op id; do
	case $op in
	+) g="$g $id" ;;
	-) n=; for x in $g; do [ "$x" = "$id" ] || n="$n $x"; done; g=$n ;;
	esac
done
[ -n "$g" ] || exit 0
for x in $g; do kill -TERM -"$x" 2>/dev/null; done
sleep 10
for x in $g; do kill -KILL -"$x" 2>/dev/null; done`

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
func watched(group int) (ended func()) {
	fmt.Fprintf(reaper(), "+ %d\n", group)
	return func() { fmt.Fprintf(reaper(), "- %d\n", group) }
}
