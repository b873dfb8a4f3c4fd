package ssh_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/internal/calltest"
	"infra/builtins/internal/sshdtest"
	"infra/builtins/ssh"
	"infra/runtime"
	"infra/runtime/remote"
)

const secret = "s3cr3t-ssh-token"

// A bench is a plan's view of one host: the sshd of the test.
type bench struct {
	server *sshdtest.Server
	pool   *remote.Pool
	root   string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	server := sshdtest.Start(t, "mac", false)
	b := &bench{server: server, root: t.TempDir()}
	b.connect(t)
	return b
}

func (b *bench) connect(t *testing.T) {
	b.pool = remote.NewPool(remote.Config{SSHConfig: b.server.Config})
	t.Cleanup(func() { b.pool.Close() })
}

func (b *bench) door(dry bool) *calltest.Door {
	return &calltest.Door{DryRun: dry, Names: starlark.StringDict{
		"mac":   &runtime.Host{Name: "mac", System: "aarch64-darwin"},
		"dir":   starlark.String(b.root),
		"token": runtime.NewSecret("token", secret),
	}}
}

func TestSpecsAreComplete(t *testing.T) { calltest.Complete(t, ssh.Specs(nil, t.TempDir())) }

func TestOps(t *testing.T) {
	b := newBench(t)
	b.write(t, "source", "x", 0o644)
	for _, tt := range []struct{ code, op string }{
		{`ssh.run(mac, ["true"])`, `change ssh.run mac | true | {"command":["true"],"host":"mac"}`},
		{`ssh.run(mac, "true; true", reads = True, check = False, stdin = token, env = {"T": token}, sudo = True, timeout = "1m", cwd = "/")`,
			`read ssh.run mac | sudo shell: true; true | {"check":false,"command":["true; true"],"cwd":"/","env":{"T":"‹secret token›"},"host":"mac","reads":true,"stdin":"‹secret token›","sudo":true,"timeout":"1m0s"}`},
		{`ssh.put(mac, dir + "/f", "text")`, `change ssh.put mac | DIR/f | {"content":"text","host":"mac","path":"DIR/f"}`},
		{`ssh.put(mac, dir + "/g", source = "source", mode = "0600", owner = "root:root", sudo = True)`,
			`change ssh.put mac | source -> DIR/g | {"host":"mac","mode":"0600","owner":"root:root","path":"DIR/g","source":"source","sudo":true}`},
		{`ssh.put(mac, dir + "/h", token)`, `change ssh.put mac | DIR/h | {"content":"‹secret token›","host":"mac","path":"DIR/h"}`},
		{`ssh.get(mac, dir + "/source")`, `read ssh.get mac | DIR/source | {"host":"mac","path":"DIR/source"}`},
		{`ssh.get(mac, dir + "/source", sudo = True, secret = True)`, `read ssh.get mac | DIR/source | {"host":"mac","path":"DIR/source","secret":true,"sudo":true}`},
		{`ssh.facts(mac)`, `read ssh.facts mac | facts of mac | {"host":"mac"}`},
		{`ssh.reachable(mac)`, `read ssh.reachable mac | reach mac | {"host":"mac"}`},
		{`ssh.reachable(mac, timeout = "3s")`, `read ssh.reachable mac | reach mac | {"host":"mac","timeout":"3s"}`},
		{`ssh.wait(mac)`, `read ssh.wait mac | wait for mac | {"host":"mac"}`},
		{`ssh.wait(mac, timeout = "1m", every = "1s")`, `read ssh.wait mac | wait for mac | {"every":"1s","host":"mac","timeout":"1m0s"}`},
	} {
		d := b.door(false)
		d.Must(t, ssh.Specs(b.pool, b.root), tt.code)
		if got := strings.ReplaceAll(d.Last(t), b.root, "DIR"); got != tt.op {
			t.Errorf("%s\n got %s\nwant %s", tt.code, got, tt.op)
		}
	}
}

func TestRun(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct{ code, want string }{
		{`x = ssh.run(mac, ["echo", "a b", "'"], reads = True).stdout`, `"a b '\n"`},
		{`x = ssh.run(mac, "echo no >&2; exit 7", check = False)`, `command_result(stdout = "", stderr = "no\n", code = 7, changed = True)`},
		{`x = ssh.run(mac, "cat; printenv T; pwd", stdin = token + ".", env = {"T": token}, cwd = "/").stdout == "` + secret + `.` + secret + `\n/\n"`, `True`},
		{`x = len(ssh.run(mac, ["printf", "\\377"], reads = True).stdout)`, `1`},
		{`x = ssh.run(mac, ["printf", "1\\n2\\n"]).lines()`, `["1", "2"]`},
	} {
		d := b.door(false)
		globals, err := d.Run(t, ssh.Specs(b.pool, b.root), tt.code)
		if err != nil {
			t.Errorf("%s: %v", tt.code, err)
			continue
		}
		if got := globals["x"].String(); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.code, got, tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	b := newBench(t)
	b.write(t, "dir/file", "", 0o644)
	for _, tt := range []struct{ code, want, hint string }{
		{`ssh.run(mac, "echo it broke >&2; exit 3")`, "the command failed with exit code 3:\nit broke", "check = False"},
		{`ssh.run(mac, ["sleep", "60"], timeout = "100ms")`, "ended after its timeout of 100ms", ""},
		{`ssh.run(mac, ["echo", token])`, "want a string, got ‹secret token›", "an argument would show in ps"},
		{`ssh.run(mac, "head -c 9000000 /dev/zero")`, "printed 9000000 bytes, more than the 8 MiB", "redirect"},
		{`ssh.get(mac, dir + "/gone")`, "file does not exist", "attempt"},
		{`ssh.put(mac, dir + "/f")`, "give either content or source", ""},
		{`ssh.put(mac, dir + "/f", "", source = "x")`, "give either content or source", ""},
		{`ssh.put(mac, dir + "/f", "", mode = "u+x")`, `mode: "u+x" is no file mode`, ""},
		{`ssh.put(mac, dir + "/f", source = "gone")`, "no such file", ""},
		{`ssh.put(mac, dir + "/dir", "")`, "is there and is no file", ""},
		{`ssh.put(mac, dir + "/dir/file/f", "")`, "writing", ""},
	} {
		_, err := b.door(false).Run(t, ssh.Specs(b.pool, b.root), tt.code)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(tt.want)) {
			t.Errorf("%s: %v, want %q", tt.code, err, tt.want)
			continue
		}
		if hint := runtime.HintOf(err); !strings.Contains(hint, tt.hint) {
			t.Errorf("%s: hint %q, want %q", tt.code, hint, tt.hint)
		}
	}
}

// TestPut: what the preview says is what the run does, and a second run does nothing.
func TestPut(t *testing.T) {
	b := newBench(t)
	b.write(t, "source", "from here\n", 0o600)
	for _, tt := range []struct {
		name, args string
		have       string      // the file that is there
		mode       os.FileMode // its mode; 0 where there is none
		verdict    runtime.Verdict
		detail     string
		after      string
		afterMode  os.FileMode
	}{
		{"new", `"one\n"`, "", 0, runtime.WillChange,
			"new file: 4 bytes, mode 0644\n--- /dev/null\n+++ F\n@@ -0,0 +1,1 @@\n+one", "one\n", 0o644},
		{"new with owner", `"one", mode = "0640", owner = "nobody:nogroup"`, "", 0, runtime.WillChange,
			"new file: 3 bytes, mode 0640, owner nobody:nogroup", "one", 0o640},
		{"binary", `"a\x00b"`, "old", 0o644, runtime.WillChange, "content: 3 bytes (sha256 cba06b5736fa) -> 3 bytes (sha256 59b271ae1bbc)", "a\x00b", 0o644},
		{"empty", `""`, "", 0, runtime.WillChange, "new file: 0 bytes, mode 0644", "", 0o644},
		{"from a file", `source = "source", mode = "0755"`, "", 0, runtime.WillChange,
			"new file: 10 bytes, mode 0755\n--- /dev/null\n+++ F\n@@ -0,0 +1,1 @@\n+from here", "from here\n", 0o755},
		{"secret", `token, mode = "0400"`, "", 0, runtime.WillChange, "new file: ‹secret token›, mode 0400", secret, 0o400},
		{"equal", `"one\n"`, "one\n", 0o644, runtime.NoChange, "", "one\n", 0o644},
		{"mode", `"one\n", mode = "0600"`, "one\n", 0o644, runtime.WillChange, "mode 0644 -> 0600", "one\n", 0o600},
		{"owner", `"one\n", owner = "nobody"`, "one\n", 0o644, runtime.WillChange, "owner root:root -> nobody", "one\n", 0o644},
		{"text", `"one\ntwo\n"`, "one\n", 0o644, runtime.WillChange, "--- F\n+++ F\n@@ -1,1 +1,2 @@\n one\n+two", "one\ntwo\n", 0o644},
		{"private", `"one\n", mode = "0600"`, "old", 0o600, runtime.WillChange, "content differs (3 -> 4 bytes); not shown, the file is private", "one\n", 0o600},
		{"to secret", `token`, "old", 0o644, runtime.WillChange, "content -> ‹secret token›", secret, 0o644},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := strings.ReplaceAll(tt.name, " ", "-")
			path := filepath.Join(b.root, name)
			if tt.mode != 0 {
				b.write(t, name, tt.have, tt.mode)
			}
			code := `x = ssh.put(mac, "` + path + `", ` + tt.args + `)`
			dry := b.door(true)
			previewed := dry.Must(t, ssh.Specs(b.pool, b.root), code)["x"].String()
			p := dry.Predictions[0]
			if detail := strings.ReplaceAll(p.Detail, path, "F"); p.Verdict != tt.verdict || detail != tt.detail {
				t.Errorf("predicted %v %q, want %v %q", p.Verdict, detail, tt.verdict, tt.detail)
			}
			if _, err := os.Stat(path); err == nil && tt.mode == 0 {
				t.Error("the dry run wrote the file")
			}
			run := b.door(false)
			if got := run.Must(t, ssh.Specs(b.pool, b.root), code)["x"].String(); got != previewed {
				t.Errorf("ran to %s, previewed %s", got, previewed)
			}
			if changed := tt.verdict == runtime.WillChange; run.Results[0].Changed != changed {
				t.Errorf("changed = %v", run.Results[0].Changed)
			}
			info, err := os.Stat(path)
			content, _ := os.ReadFile(path)
			if err != nil || string(content) != tt.after || info.Mode().Perm() != tt.afterMode {
				t.Errorf("the file is %v %q (%v)", info, content, err)
			}
			again := b.door(false)
			again.Must(t, ssh.Specs(b.pool, b.root), code)
			if again.Results[0].Changed {
				t.Error("the second run changed it again")
			}
		})
	}
}

func TestGet(t *testing.T) {
	b := newBench(t)
	b.write(t, "plain", "text\n", 0o644)
	b.write(t, "key", "s3cr3t-from-the-host", 0o600)
	d := b.door(false)
	globals := d.Must(t, ssh.Specs(b.pool, b.root), `
plain = ssh.get(mac, dir + "/plain")
key = ssh.get(mac, dir + "/key", secret = True)
ssh.put(mac, dir + "/copy", key)
`)
	if got := globals["plain"].String(); got != `"text\n"` {
		t.Errorf("got %s", got)
	}
	if got := globals["key"].String(); got != "‹secret mac:"+b.root+"/key›" {
		t.Errorf("got %s", got)
	}
	if copied, err := os.ReadFile(filepath.Join(b.root, "copy")); string(copied) != "s3cr3t-from-the-host" {
		t.Errorf("the copy is %q %v", copied, err)
	}
	if strings.Contains(d.Log.String(), "s3cr3t-from-the-host") {
		t.Error("the log holds the secret")
	}
}

func TestFacts(t *testing.T) {
	b := newBench(t)
	globals := b.door(true).Must(t, ssh.Specs(b.pool, b.root), `
f = ssh.facts(mac)
x = [f.kernel, f.user, f.current_system]
y = [bool(v) for v in [f.arch, f.hostname, f.boot_id, f.os]]
z = f.nix_version
`)
	if got := globals["x"].String(); got != `["Linux", "root", ""]` {
		t.Errorf("got %s", got)
	}
	if got := globals["y"].String(); got != `[True, True, True, True]` {
		t.Errorf("something is empty: %s", globals["f"])
	}
	if got := globals["z"].String(); !strings.Contains(got, "nix") {
		t.Errorf("nix_version is %s", got)
	}
}

func TestReachable(t *testing.T) {
	b := newBench(t)
	b.expect(t, `x = ssh.reachable(mac)`, `True`, "")
	b.expect(t, `x = ssh.wait(mac)`, `None`, "")
	b.server.Stop()
	b.connect(t) // a connection that is open outlives the sshd that accepted it
	b.expect(t, `x = ssh.reachable(mac)`, `False`, "")
	b.expect(t, `x = ssh.wait(mac, timeout = "300ms", every = "100ms")`, ``, "not reachable for 300ms; at last: ")
}

// TestAnotherHostKey: a host that is not who it was is no host that is away.
func TestAnotherHostKey(t *testing.T) {
	b := newBench(t)
	b.server.NewHostKey(t)
	for _, code := range []string{`ssh.reachable(mac)`, `ssh.wait(mac, timeout = "10s")`, `ssh.run(mac, ["true"], reads = True)`} {
		b.expect(t, code, "", "THE HOST KEY OF")
	}
}

func (b *bench) expect(t *testing.T, code, want, wantErr string) {
	t.Helper()
	globals, err := b.door(true).Run(t, ssh.Specs(b.pool, b.root), code)
	switch {
	case wantErr == "" && err != nil:
		t.Errorf("%s: %v", code, err)
	case wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)):
		t.Errorf("%s: %v, want %q", code, err, wantErr)
	case wantErr == "" && globals["x"].String() != want:
		t.Errorf("%s: %v, want %s", code, globals["x"], want)
	}
}

func (b *bench) write(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(b.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
