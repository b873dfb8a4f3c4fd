package sopstest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// environ is the environment before a test alters it: with another home, the
// go command would begin with an empty cache.
var environ = os.Environ()

var built struct {
	once sync.Once
	dir  string
	err  error
}

// Binary is the real sops, of the version that go.mod has. It is built once in
// a process; [CleanUp] removes it.
func Binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "infra-sops-"); built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", built.dir, "github.com/getsops/sops/v3/cmd/sops")
		cmd.Env = environ
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("building sops: %w\n%s", err, out)
		}
	})
	must(t, built.err)
	return filepath.Join(built.dir, "sops")
}

// CleanUp removes the real sops. It is for a TestMain.
func CleanUp() {
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}

// Sops runs the real sops in a folder, with input on its stdin.
func Sops(t testing.TB, dir, input string, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := exec.Command(Binary(t), append([]string{"--disable-version-check"}, args...)...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(input)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("sops %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out.String(), nil
}
