package clan

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"infra/builtins/internal/clantest"
	"infra/builtins/internal/sops"
	"infra/builtins/internal/sops/sopstest"
)

// checked checks a repository's files against what it declares.
func checked(t testing.TB, r *clantest.Repo) (problems []problem, unopened int) {
	t.Helper()
	wanted, err := parseWanted(r.WantedJSON(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return checkedFor(t, r, wanted)
}

func checkedFor(t testing.TB, r *clantest.Repo, wanted map[string]wants) (problems []problem, unopened int) {
	t.Helper()
	return checkedBy(t, sops.NewReader(), r, wanted)
}

func checkedBy(t testing.TB, sealed *sops.Reader, r *clantest.Repo, wanted map[string]wants) (problems []problem, unopened int) {
	t.Helper()
	repo, err := openRepository(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer repo.close()
	c := checker{repo: repo, open: Clan{Sealed: sealed}.quietly(t.Context(), repo, io.Discard)}
	return c.check(wanted), c.unopened
}

// children is what processes that we started and waited for have used; it grows
// with each one.
func children(t testing.TB) int64 {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &used); err != nil {
		t.Fatal(err)
	}
	return int64(used.Minflt)
}

// TestAWholeClan: 120 vars of 5 machines are read, compared and decrypted, and no
// process is started for it. BenchmarkCheck says how long it takes.
func TestAWholeClan(t *testing.T) {
	r := clantest.New(t)
	if len(r.Values) != 120+1 {
		t.Fatalf("the repository has %d vars", len(r.Values)-1)
	}
	wanted, err := parseWanted(r.WantedJSON(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "")
	before := children(t)
	if problems, unopened := checkedFor(t, r, wanted); len(problems) > 0 || unopened > 0 {
		t.Fatalf("unopened %d, problems:\n%s", unopened, lines(problems))
	}
	if after := children(t); after != before {
		t.Error("a process was started")
	}
}

func lines(problems []problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}

// replaced replaces what a pattern finds in a file, which has to be there.
func replaced(t *testing.T, r *clantest.Repo, name, pattern string, with func(string) string) {
	t.Helper()
	old := r.Read(name)
	text := regexp.MustCompile(pattern).ReplaceAllStringFunc(old, with)
	if text == old {
		t.Fatalf("%s has no %s:\n%s", name, pattern, old)
	}
	r.Write(name, text)
}

// flipped changes one bit of the first byte of what is base64 after "name:".
func flipped(name string) func(string) string {
	return func(s string) string {
		head, rest, _ := strings.Cut(s, name+":")
		value, tail, _ := strings.Cut(rest, ",")
		data, err := base64.StdEncoding.DecodeString(value)
		if err != nil || len(data) == 0 {
			return s
		}
		data[0] ^= 1
		return head + name + ":" + base64.StdEncoding.EncodeToString(data) + "," + tail
	}
}

const (
	ofBlackphos = "vars/per-machine/blackphos/gen0/file1"
	ofShared    = "vars/shared/shared1/file2"
	public      = "vars/per-machine/cinnabar/gen2/file0"
)

func TestDamage(t *testing.T) {
	whole := clantest.New(t)
	wanted, err := parseWanted(whole.WantedJSON(), nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed := sops.NewReader() // most files are the same in all of these
	key := func(who string) string { return whole.Recipients(who)[0] }
	reseal := func(dir string, who ...string) func(*testing.T, *clantest.Repo) {
		return func(t *testing.T, r *clantest.Repo) {
			r.Write(dir+"/secret", r.Seal(whole.Values[dir], r.Recipients(who...)...))
		}
	}
	seal := func(dir, value string) func(*testing.T, *clantest.Repo) {
		return func(t *testing.T, r *clantest.Repo) {
			r.Write(dir+"/secret", r.Seal(value, r.Recipients("users/alice", "users/bob", "machines/blackphos")...))
		}
	}
	in := func(name, pattern string, with func(string) string) func(*testing.T, *clantest.Repo) {
		return func(t *testing.T, r *clantest.Repo) { replaced(t, r, name, pattern, with) }
	}
	to := func(s string) func(string) string { return func(string) string { return s } }
	for _, tt := range []struct {
		name   string
		damage func(*testing.T, *clantest.Repo)
		want   []string // "kind path" and a part of the detail
	}{
		{"missing file", func(t *testing.T, r *clantest.Repo) { r.Remove(ofBlackphos + "/secret") },
			[]string{"missing", ofBlackphos + "/secret", "is not there"}},
		{"missing public file", func(t *testing.T, r *clantest.Repo) { r.Remove(public) },
			[]string{"missing", public + "/value", "is not there"}},
		{"stale hash", func(t *testing.T, r *clantest.Repo) { r.Write("vars/shared/shared2/.validation-hash", "another") },
			[]string{"stale", "vars/shared/shared2/.validation-hash", "changed since"}},
		{"no hash", func(t *testing.T, r *clantest.Repo) { r.Remove("vars/shared/shared2/.validation-hash") },
			[]string{"stale", "vars/shared/shared2/.validation-hash", "before its generator had a validation"}},
		{"a hash too many", func(t *testing.T, r *clantest.Repo) { r.Write("vars/shared/shared1/.validation-hash", "h") },
			[]string{"stale", "vars/shared/shared1/.validation-hash", "changed since"}},
		{"removed recipient", reseal(ofBlackphos, "users/alice", "machines/blackphos"),
			[]string{"recipients", ofBlackphos + "/secret", "not encrypted for user bob (" + key("users/bob")}},
		{"removed machine", func(t *testing.T, r *clantest.Repo) {
			reseal(ofBlackphos, "users/alice", "users/bob")(t, r)
			r.Remove(ofBlackphos + "/machines")
		}, []string{"recipients", ofBlackphos + "/secret", "not encrypted for machine blackphos"}},
		{"extra recipient", reseal(ofBlackphos, "users/alice", "users/bob", "users/carol", "machines/blackphos"),
			[]string{"recipients", ofBlackphos + "/secret", "encrypted for user carol (" + key("users/carol")}},
		{"a member left its group", func(t *testing.T, r *clantest.Repo) { r.Remove("sops/groups/backup/users/carol") }, nil}, // carol is linked too
		{"flipped byte in data", in(ofBlackphos+"/secret", `data:[^,]*,`, flipped("data")),
			[]string{"damaged", ofBlackphos + "/secret", "does not decrypt"}},
		{"flipped byte in mac", in(ofBlackphos+"/secret", `"mac": "ENC\[AES256_GCM,data:[^,]*,`, flipped("data")),
			[]string{"damaged", ofBlackphos + "/secret", "MAC does not match"}},
		{"flipped byte in lastmodified", in(ofBlackphos+"/secret", `"lastmodified": "20`, to(`"lastmodified": "21`)),
			[]string{"damaged", ofBlackphos + "/secret", "MAC does not match"}},
		{"lastmodified is no date", in(ofBlackphos+"/secret", `"lastmodified": "20`, to(`"lastmodified": "zz`)),
			[]string{"damaged", ofBlackphos + "/secret", "damaged"}},
		{"truncated JSON", func(t *testing.T, r *clantest.Repo) {
			r.Write(ofBlackphos+"/secret", r.Read(ofBlackphos + "/secret")[:200])
		}, []string{"damaged", ofBlackphos + "/secret", "no whole JSON"}},
		{"self-symlink", func(t *testing.T, r *clantest.Repo) { r.PointTo(ofBlackphos+"/secret", "secret") },
			[]string{"damaged", ofBlackphos + "/secret", "in a circle (to secret)"}},
		{"symlinks in a ring", func(t *testing.T, r *clantest.Repo) {
			r.PointTo(public+"/value", "other")
			r.PointTo(public+"/other", "value")
		}, []string{"damaged", public + "/value", "in a circle"}},
		{"symlink to /etc", func(t *testing.T, r *clantest.Repo) { r.PointTo(public+"/value", "/etc/passwd") },
			[]string{"damaged", public + "/value", "out of the repository (to /etc/passwd)"}},
		{"symlink upwards", func(t *testing.T, r *clantest.Repo) {
			r.PointTo(public+"/value", strings.Repeat("../", 12)+"etc/passwd")
		}, []string{"damaged", public + "/value", "out of the repository"}},
		{"a folder that links to /etc", func(t *testing.T, r *clantest.Repo) { r.PointTo("vars/per-machine/cinnabar/gen2", "/etc") },
			[]string{"damaged", public + "/value", "lies behind a link that leads out of the repository (to /etc): vars/per-machine/cinnabar/gen2",
				"damaged", "", "", "damaged", "", "", "damaged", "", ""}},
		{"a recipient that links to /etc", func(t *testing.T, r *clantest.Repo) { r.PointTo(ofShared+"/users/carol", "/etc") },
			[]string{"damaged", ofShared, "leads to /etc, and not into sops/users"}},
		{"a recipient that links to itself", func(t *testing.T, r *clantest.Repo) { r.PointTo(ofShared+"/users/carol", "carol") },
			[]string{"damaged", ofShared, "leads to carol, and not into sops/users"}},
		{"wrong key type", func(t *testing.T, r *clantest.Repo) {
			replaced(t, r, "sops/users/carol/key.json", `"type": "age"`, to(`"type": "pgp"`))
		}, []string{"key", "sops/users/carol/key.json", "fingerprint of a PGP key, and it is none"}},
		{"unknown key type", func(t *testing.T, r *clantest.Repo) {
			replaced(t, r, "sops/users/carol/key.json", `"type": "age"`, to(`"type": "rot13"`))
		}, []string{"key", "sops/users/carol/key.json", `type "rot13"`}},
		{"no key", func(t *testing.T, r *clantest.Repo) { r.Remove("sops/machines/electrum/key.json") },
			[]string{"key", "sops/machines/electrum/key.json", "machine electrum has no key"}},
		{"empty public value", func(t *testing.T, r *clantest.Repo) { r.Write(public+"/value", "") },
			[]string{"empty", public + "/value", "is empty"}},
		{"empty secret value", seal(ofBlackphos, ""),
			[]string{"empty", ofBlackphos + "/secret", "empty value"}},
		{"not decryptable by me", func(t *testing.T, r *clantest.Repo) { t.Setenv("SOPS_AGE_KEY", r.Keys["users/carol"].String()) }, nil},
		{"in clear", func(t *testing.T, r *clantest.Repo) {
			r.Remove(ofBlackphos + "/secret")
			r.Write(ofBlackphos+"/value", "plain")
		}, []string{"exposed", ofBlackphos + "/value", "lies in clear"}},
		{"plain text in place of a secret", func(t *testing.T, r *clantest.Repo) { r.Write(ofBlackphos+"/secret", "plain") },
			[]string{"damaged", ofBlackphos + "/secret", "no whole JSON"}},
		{"data that is not encrypted", in(ofBlackphos+"/secret", `"data": "[^"]*"`, to(`"data": "plain"`)),
			[]string{"damaged", ofBlackphos + "/secret", "not encrypted"}},
		{"the value of another", func(t *testing.T, r *clantest.Repo) {
			replaced(t, r, ofBlackphos+"/secret", `"data": "[^"]*"`, to(regexp.MustCompile(`"data": "[^"]*"`).FindString(r.Read(ofShared+"/secret"))))
		}, []string{"damaged", ofBlackphos + "/secret", "does not decrypt"}},
		{"a folder in place of a file", func(t *testing.T, r *clantest.Repo) {
			r.Remove(public + "/value")
			r.Write(public+"/value/x", "")
		}, []string{"damaged", public + "/value", "not a file"}},
		{"a pipe in place of a file", func(t *testing.T, r *clantest.Repo) {
			r.Remove(public + "/value") // which is put back after the test
			if err := syscall.Mkfifo(r.Dir+"/"+public+"/value", 0o644); err != nil {
				t.Fatal(err)
			}
		}, []string{"damaged", public + "/value", "not a file"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := whole.Borrow(t)
			tt.damage(t, r)
			by := sealed
			if tt.name == "not decryptable by me" {
				by = sops.NewReader()
			}
			problems, unopened := checkedBy(t, by, r, wanted)
			if tt.name == "not decryptable by me" { // carol is in a group of file2 only
				unreadableOnly(t, problems)
				return
			}
			if len(problems)*3 != len(tt.want) || unopened != 0 {
				t.Fatalf("%d problems, unopened %d, want %q:\n%s", len(problems), unopened, tt.want, lines(problems))
			}
			for i, p := range problems {
				want := tt.want[3*i:]
				if p.kind != want[0] || want[1] != "" && p.path != want[1] || !strings.Contains(p.detail, want[2]) {
					t.Errorf("got %s %s: %s, want %q", p.kind, p.path, p.detail, want[:3])
				}
			}
		})
	}
}

func unreadableOnly(t *testing.T, problems []problem) {
	t.Helper()
	for _, p := range problems {
		if p.kind != unreadable || p.file == "file2" || !strings.Contains(p.detail, "no key here decrypts") {
			t.Errorf("%s", p)
		}
	}
	if len(problems) != 60 {
		t.Errorf("%d vars are unreadable, want 60", len(problems))
	}
}

// TestNobodyIsAsked: what only a plugin could decrypt is counted, and not called.
func TestNobodyIsAsked(t *testing.T) {
	r := clantest.New(t)
	sopstest.Lonely(t)
	t.Setenv("SOPS_AGE_KEY", "AGE-PLUGIN-NOSUCH-1QQPQYSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQG4P4P6C")
	if problems, _ := checked(t, r); len(problems) == 0 {
		t.Fatal("an identity that is none counts as one")
	}
	t.Setenv("SOPS_AGE_KEY", "")
	t.Setenv("SOPS_AGE_KEY_CMD", "/nonexistent/never-run")
	problems, unopened := checked(t, r)
	if len(problems) != 0 || unopened != 90 {
		t.Errorf("unopened %d, want 90:\n%s", unopened, lines(problems))
	}
}

// TestDefaultGroups: their members are wanted although nothing links to them.
func TestDefaultGroups(t *testing.T) {
	r := clantest.New(t)
	r.Declared["blackphos"].DefaultGroups = []string{"admins", "backup"}
	problems, _ := checked(t, r)
	of := map[string]int{}
	for _, p := range problems {
		of[p.kind+" "+p.machine]++
	}
	// file1 and file3 of 5 generators, and of the shared ones; file2 has the group anyway
	if of["recipients blackphos"] != 10 || of["recipients "] != 10 || len(of) != 2 {
		t.Errorf("got %v:\n%s", of, lines(problems))
	}
	r.Declared["blackphos"].DefaultGroups = []string{"admins", "nosuch"}
	problems, _ = checked(t, r)
	if len(problems) != 30 || problems[0].kind != damaged || !strings.Contains(problems[0].detail, "there is no group nosuch") {
		t.Errorf("%d problems:\n%s", len(problems), lines(problems))
	}
}

// TestOneMachine: a machine's check is about its own vars and those it shares.
func TestOneMachine(t *testing.T) {
	r := clantest.New(t)
	r.Remove("vars/per-machine/cinnabar")
	wanted, err := parseWanted(r.WantedJSON(), []string{"blackphos"})
	if err != nil {
		t.Fatal(err)
	}
	wanted = map[string]wants{"blackphos": wanted["blackphos"]}
	if problems, _ := checkedFor(t, r, wanted); len(problems) > 0 {
		t.Errorf("the Mac has problems:\n%s", lines(problems))
	}
	r.Remove(ofShared + "/secret")
	if problems, _ := checkedFor(t, r, wanted); len(problems) != 1 || problems[0].machine != "" {
		t.Errorf("a shared var that is missing:\n%s", lines(problems))
	}
}

func BenchmarkCheck(b *testing.B) {
	r := clantest.New(b)
	wanted, err := parseWanted(r.WantedJSON(), nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, decrypt := range []bool{false, true} {
		b.Run(fmt.Sprintf("decrypt=%v", decrypt), func(b *testing.B) {
			for b.Loop() {
				repo, err := openRepository(r.Dir)
				if err != nil {
					b.Fatal(err)
				}
				c := checker{repo: repo}
				if decrypt {
					c.open = Clan{Sealed: sops.NewReader()}.quietly(context.Background(), repo, io.Discard)
				}
				if problems := c.check(wanted); len(problems) > 0 {
					b.Fatal(lines(problems))
				}
				repo.close()
			}
		})
	}
}
