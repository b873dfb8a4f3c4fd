package nix

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestActivationOutlastsItsSession kills what runs an activation, as the loss of a
// connection does, where there is setsid and where there is none, as on a Mac. The
// activation is found again, and ends but once.
func TestActivationOutlastsItsSession(t *testing.T) {
	t.Parallel()
	without := t.TempDir()
	for _, tool := range strings.Fields("cat ln mkdir perl readlink rm sh sleep touch") {
		path, err := exec.LookPath(tool)
		if err == nil {
			err = os.Symlink(path, filepath.Join(without, tool))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ shell, name, path string }{
		{"sh", "with setsid", os.Getenv("PATH")},
		{"sh", "by perl", without},
		{"bash", "by perl", without},
	} {
		t.Run(tt.shell+" "+tt.name, func(t *testing.T) {
			t.Parallel()
			shell, err := exec.LookPath(tt.shell)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			watchdog, hold := dir+"/watchdog", dir+"/hold"
			script := func(text string, args ...string) *exec.Cmd {
				cmd := exec.CommandContext(t.Context(), shell, append([]string{"-c", text, "sh", watchdog}, args...)...)
				cmd.Env = []string{"PATH=" + tt.path}
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
				return cmd
			}
			const program = `echo begun; touch "$1/begun"; while [ -e "$1/hold" ]; do sleep 0.05; done; echo once >>"$1/ends"; echo ended; exit 5`
			activate := script(activateScript, "", "op-1", apartScript, "sh", "-c", program, "sh", dir)
			if err := errors.Join(os.WriteFile(hold, nil, 0o600), activate.Start()); err != nil {
				t.Fatal(err)
			}
			for _, err := os.Stat(dir + "/begun"); err != nil; _, err = os.Stat(dir + "/begun") {
				time.Sleep(10 * time.Millisecond)
				if t.Context().Err() != nil {
					t.Fatal("it was not begun")
				}
			}
			if err := syscall.Kill(-activate.Process.Pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = activate.Wait()
			again := script(activateScript, "", "op-1", apartScript, "false") // it is at work: that is followed
			found := script(foundScript, "op-1")
			var said []string
			var follow []io.Reader
			for _, cmd := range []*exec.Cmd{again, found} {
				out, err := cmd.StdoutPipe()
				first := make([]byte, len("begun\n"))
				if err := errors.Join(err, cmd.Start()); err != nil {
					t.Fatal(err)
				}
				_, _ = io.ReadFull(out, first)
				said, follow = append(said, string(first)), append(follow, out)
			}
			if err := os.Remove(hold); err != nil {
				t.Fatal(err)
			}
			for i, cmd := range []*exec.Cmd{again, found} {
				rest, _ := io.ReadAll(follow[i])
				_ = cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); code != 5 || said[i]+string(rest) != "begun\nended\n" {
					t.Errorf("it exits %d, and says %q", code, said[i]+string(rest))
				}
			}
			ends, err := os.ReadFile(dir + "/ends")
			if err != nil || string(ends) != "once\n" {
				t.Errorf("it ended %q: %v", ends, err)
			}
			_ = script(forgetScript, "op-1").Run()
			if left, _ := filepath.Glob(dir + "/activation*"); left != nil {
				t.Error("it left a trace")
			}
			if other := script(foundScript, "op-2"); other.Run() == nil || other.ProcessState.ExitCode() != notBegun {
				t.Errorf("of another one it says %d", other.ProcessState.ExitCode())
			}
		})
	}
}
